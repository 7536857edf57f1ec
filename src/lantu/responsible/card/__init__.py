"""Model cards, and the technical documentation of the EU AI Act, from what a run knows."""
