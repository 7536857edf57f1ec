"""Sweeps: run many trials, restart crashed ones, resume after an interruption, compare the results."""
