"""The losses of generative adversarial networks, and the average of a generator's weights.

With D(x) the logit of a real image and D(G) that of a generated one: `non_saturating` (Goodfellow et al. 2014) is
softplus(-D(x)) + softplus(D(G)) for the discriminator and softplus(-D(G)) for the generator; `relativistic`
(Jolicoeur-Martineau 2019) is softplus(D(G) - D(x)) and softplus(D(x) - D(G)).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

OBJECTIVES = ("non_saturating", "relativistic")
Discriminator = Callable[[Tensor], Tensor]
"""From images (N, C, H, W) to logits (N,), higher for real images."""


def logit_loss(on_real: Tensor, on_fake: Tensor, objective: str) -> Tensor:
    """The discriminator's loss for its logits (N,) of real and of generated images."""
    if objective == "relativistic":
        return F.softplus(on_fake - on_real).mean()
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def discriminator_loss(
    discriminator: Discriminator, real: Tensor, fake: Tensor, *, objective: str, penalty: float
) -> Tensor:
    """The discriminator's loss with the penalties R1 and R2.

    Args:
        real, fake: images (N, C, H, W), detached.
        penalty: R1 and R2 are penalty/2 times the squared norm of the discriminator's gradient at real and at generated
            images (Mescheder et al. 2018, Huang et al. 2024); 0: none.
    """
    real, fake = real.requires_grad_(penalty > 0), fake.requires_grad_(penalty > 0)
    on_real, on_fake = discriminator(real), discriminator(fake)
    loss = logit_loss(on_real, on_fake, objective)
    if not penalty:
        return loss
    gradients = torch.autograd.grad([on_real.sum() + on_fake.sum()], [real, fake], create_graph=True)
    norm = sum(each.square().flatten(1).sum(dim=1).mean() for each in gradients)
    return loss + penalty / 2 * norm


def generator_loss(discriminator: Discriminator, real: Tensor, fake: Tensor, *, objective: str) -> Tensor:
    """The generator's loss for the images (N, C, H, W) that it made."""
    on_fake = discriminator(fake)
    if objective == "relativistic":
        return F.softplus(discriminator(real) - on_fake).mean()
    return F.softplus(-on_fake).mean()


def moving_average(decay: float) -> Any:
    """An exponential moving average of weights, for `AveragedModel`; its decay rises to `decay` by (1+n) / (10+n)."""

    @torch.no_grad()
    def update(kept: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        if kept and kept[0].is_floating_point():
            torch._foreach_lerp_(kept, current, share)
        else:  # counters of batch norm
            for old, new in zip(kept, current, strict=True):
                old.copy_(new)

    return update
