"""Runs as frames, read from whichever store keeps them."""
