"""The voice that comes along: docs/speaking.md, `export_voice`."""
