"""TFDS builders: `asterisk_en` (the embedded recordings) and `numbers` (what people read out, composed from them)."""
