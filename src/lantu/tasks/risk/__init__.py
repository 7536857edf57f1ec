"""Value at risk and expected shortfall: backtests, scores, and the classical models that a network must beat."""
