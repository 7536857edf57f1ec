"""Metrics by group, their differences with intervals, and training that narrows them."""

from lantu.responsible.fairness.callback import Fairness

__all__ = ["Fairness"]
