"""The embedded recordings and their TFDS builder."""
