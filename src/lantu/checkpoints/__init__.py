"""Checkpoint files: written atomically, verified when read, with the run's config inside."""
