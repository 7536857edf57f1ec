"""Data with several kinds of inputs for each example: pictures, texts and recordings."""
