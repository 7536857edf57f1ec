"""Cross-entropy of a linear layer's logits in chunks of tokens, so that the full logits are never in memory.

Letters at the end of a tensor's name are its dimensions: M tokens, B tokens of a chunk, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lantu.ignore_index import NOT_ASKED

CHUNK_BYTES = 2**30
"""Size of one chunk's logits. Large chunks mean large matrix products and few additions to the weight gradient."""
LossAndGradient = Callable[..., tuple[Tensor, Tensor]]
_Options = tuple[float, int, LossAndGradient]
"""Label smoothing, tokens per chunk, and the function that computes a chunk's loss and gradient."""


def linear_cross_entropy(
    x_MD: Tensor,
    weight_VD: Tensor,
    y_M: Tensor,
    *,
    label_smoothing: float = 0.0,
    chunk: int | None = None,
    loss_and_gradient: LossAndGradient | None = None,
) -> Tensor:
    """Return the mean cross-entropy of the logits x_MD @ weight_VD.T over tokens with a target, a float32 scalar.

    It equals `F.cross_entropy(logits.float(), y_M)` up to rounding. The forward pass also computes the gradients, chunk
    by chunk, as in Liger Kernel (Hsu et al. 2024), so the logits are neither stored nor recomputed. Gradients of
    half-precision logits are as small as 1 / M, so float16 needs loss scaling, and with it the plain function.

    Args:
        y_M: targets, int64; -100 is ignored.
        label_smoothing: as in `F.cross_entropy`.
        chunk: tokens per chunk; None: as many as have 1 GiB of logits.
        loss_and_gradient: `chunk_loss_and_gradient`, or its compiled version.
    """
    device = x_MD.device.type
    if torch.is_autocast_enabled(device):
        x_MD = x_MD.to(torch.get_autocast_dtype(device))
    chunk = chunk or max(1, CHUNK_BYTES // (len(weight_VD) * x_MD.element_size()))
    make = loss_and_gradient or chunk_loss_and_gradient
    with torch.autocast(device, enabled=False):
        loss: Tensor = _ChunkedLoss.apply(x_MD, weight_VD, y_M, (label_smoothing, chunk, make))
    return loss


def chunk_loss_and_gradient(
    logits_BV: Tensor, y_B: Tensor, scale: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return a chunk's loss times `scale`, and its gradient with respect to the logits, (B, V) in their dtype."""
    z_BV = logits_BV.float()
    asked_B1 = (y_B != NOT_ASKED)[:, None]
    weight_B1 = torch.where(asked_B1, scale, 0.0)
    # written out so that torch.compile reads the logits once for both the maximum and the sum
    largest_B1 = z_BV.amax(dim=1, keepdim=True)
    normaliser_B1 = largest_B1 + (z_BV - largest_B1).exp().sum(dim=1, keepdim=True).log()
    picked_B1 = z_BV.gather(1, y_B.clamp(min=0)[:, None])
    loss_B1 = normaliser_B1 - (1 - label_smoothing) * picked_B1
    is_target_BV = torch.arange(z_BV.shape[1], device=z_BV.device) == y_B[:, None]
    gradient_BV = (z_BV - normaliser_B1).exp() - torch.where(is_target_BV, 1 - label_smoothing, 0.0)
    if label_smoothing:
        loss_B1 = loss_B1 - label_smoothing * z_BV.mean(dim=1, keepdim=True)
        gradient_BV = gradient_BV - label_smoothing / z_BV.shape[1]
    return torch.where(asked_B1, loss_B1 * scale, 0.0).sum(), (gradient_BV * weight_B1).to(logits_BV.dtype)


class _ChunkedLoss(torch.autograd.Function):
    """Computes loss and gradients in the forward pass; `backward` multiplies the gradients by the incoming one."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, weight_VD: Tensor, y_M: Tensor, options: _Options) -> Tensor:
        smoothing, chunk, make = options
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        ctx.weight_dtype = weight_VD.dtype
        weight_VD = weight_VD.to(x_MD.dtype)
        scale = 1.0 / (y_M != NOT_ASKED).sum()  # without any target the loss is NaN, as in F.cross_entropy
        loss = x_MD.new_zeros((), dtype=torch.float32)
        gradient_MD = torch.empty_like(x_MD) if needs_x else None
        gradient_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
        for at in range(0, len(x_MD), chunk):
            x_BD, y_B = x_MD[at : at + chunk], y_M[at : at + chunk]
            logits_BV = x_BD @ weight_VD.T
            if not (needs_x or needs_weight):
                loss += scale * F.cross_entropy(logits_BV.float(), y_B, label_smoothing=smoothing, reduction="sum")
                continue
            part, gradient_BV = make(logits_BV, y_B, scale, smoothing)
            loss += part
            del logits_BV
            if gradient_MD is not None:
                torch.mm(gradient_BV, weight_VD, out=gradient_MD[at : at + chunk])
            if gradient_VD is not None:
                _add_product(gradient_VD, gradient_BV.T, x_BD)
        ctx.save_for_backward(gradient_MD, gradient_VD)
        return loss + 0 * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient_MD, gradient_VD = ctx.saved_tensors
        by_x = None if gradient_MD is None else gradient_MD * gradient.to(gradient_MD.dtype)
        by_weight = None if gradient_VD is None else (gradient_VD * gradient).to(ctx.weight_dtype)
        return by_x, by_weight, None, None


def _add_product(total_VD: Tensor, a_VB: Tensor, b_BD: Tensor) -> None:
    """Add a product to a float32 sum. CUDA accumulates in float32; the CPU multiplies in the inputs' dtype."""
    if a_VB.dtype == torch.float32:
        total_VD.addmm_(a_VB, b_BD)
    elif total_VD.is_cuda:
        torch.addmm(total_VD, a_VB, b_BD, out_dtype=torch.float32, out=total_VD)
    else:
        total_VD += a_VB @ b_BD
