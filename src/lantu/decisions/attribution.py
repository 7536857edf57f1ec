"""Integrated gradients (Sundararajan et al. 2017): what each feature adds to a score, compared with a reference."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lantu.errors import UserError

STEPS = 32


def integrated_gradients(score: Callable[[Tensor], Tensor], x: Tensor, reference: Tensor) -> Tensor:
    """What each feature (N, F) adds to the score of x (N, F) over that of a reference (F,); sums to the difference.

    The path's integral is by Gauss and Legendre with 32 points, which is exact for a linear score.

    Raises:
        UserError: the score has no gradient.
    """
    places, weights = np.polynomial.legendre.leggauss(STEPS)
    total = torch.zeros_like(x)
    with torch.inference_mode(False), torch.enable_grad():
        start, end = reference.clone().expand_as(x), x.clone()
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            point = (start + place * (end - start)).detach().requires_grad_()
            scored = score(point).sum()
            if not scored.requires_grad:
                raise UserError(
                    "the reasons of a decision need the network's gradients, which an export to onnx or torch does not "
                    "have: `format=safetensors` keeps them, and a run with `business.reasons=0` needs none."
                )
            (gradient,) = torch.autograd.grad(scored, point)
            total = total + weight * gradient
        return (total * (end - start)).detach()
