"""Searches: spaces, samplers, pruning, studies."""
