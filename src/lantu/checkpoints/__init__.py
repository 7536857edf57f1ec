"""Checkpoint files: written whole, verified when read, and carrying the config they came from."""
