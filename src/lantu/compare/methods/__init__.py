"""Statistics, importance, fronts, scaling laws, return on investment: what is known of each group."""
