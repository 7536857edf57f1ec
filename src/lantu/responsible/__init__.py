"""Private training, explanations and model cards."""
