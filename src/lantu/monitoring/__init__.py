"""Judge new data against those that a model was trained on."""
