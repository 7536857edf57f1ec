"""Audio: reading recordings, log-mel features, augmentation, and data modules for audio problems."""
