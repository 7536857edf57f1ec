"""What data and tasks agree on about targets."""

NOT_ASKED = -100
"""The target where nothing is to be predicted, as `cross_entropy` and transformers have it."""
