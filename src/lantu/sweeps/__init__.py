"""Sweeps: many trials that are one thing, resumed where they stopped, ended by nothing but their plan."""
