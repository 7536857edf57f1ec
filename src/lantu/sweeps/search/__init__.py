"""Search: spaces, samplers, pruning, studies."""
