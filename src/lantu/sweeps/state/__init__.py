"""A sweep on disk: its plan, its trials and their status."""
