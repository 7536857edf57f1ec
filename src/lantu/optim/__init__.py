"""Parameter groups, learning-rate schedules, initial weights."""

from lantu.optim.init import he, orthogonal, xavier
from lantu.optim.layer_decay import fine_tune
from lantu.optim.parameter_groups import l1_norm, parameter_groups
from lantu.optim.schedules import constant, cosine, one_cycle, plateau, wsd
from lantu.optim.weights import load_weights

__all__ = [
    "constant",
    "cosine",
    "fine_tune",
    "he",
    "l1_norm",
    "load_weights",
    "one_cycle",
    "orthogonal",
    "parameter_groups",
    "plateau",
    "wsd",
    "xavier",
]
