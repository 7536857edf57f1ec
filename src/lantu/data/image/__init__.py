"""Images: decoding, and data modules for image problems."""
