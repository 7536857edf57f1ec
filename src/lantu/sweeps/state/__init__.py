"""What a sweep keeps on disk: its plan, its trials and their status."""
