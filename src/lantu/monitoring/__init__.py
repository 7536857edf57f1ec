"""Check new data for drift from the data that a model was trained on."""
