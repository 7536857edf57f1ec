"""Metrics by group, their differences with intervals, and training that narrows them."""

from lantu.responsible.fairness.fairness_callback import Fairness

__all__ = ["Fairness"]
