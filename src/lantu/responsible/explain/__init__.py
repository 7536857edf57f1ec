"""Why a model answers as it does, and whether what is shown is true of the model."""

from lantu.responsible.explain.explanations_callback import Explanations

__all__ = ["Explanations"]
