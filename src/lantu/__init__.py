"""Lantu (蓝图, "blueprint"): compose, train, track and compare models by cost and quality."""
