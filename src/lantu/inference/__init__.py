"""Using a trained model again: found by its run, rebuilt from it alone, measured or applied."""
