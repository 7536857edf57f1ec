"""Differentially private training with Opacus, its accounting, and an attack that measures it."""

from lantu.responsible.privacy.training import DifferentialPrivacy

__all__ = ["DifferentialPrivacy"]
