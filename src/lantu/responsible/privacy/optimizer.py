"""The step of DP-SGD: clip each example's gradient, sum, add noise; then any optimizer."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.optim import Optimizer

from lantu.responsible.privacy.secret import Secret


class PrivateOptimizer(DPOptimizer):
    """Opacus's optimizer, with noise drawn from a secret and a function of the sum that it is added to.

    Args:
        optimizer: any; it sees the noisy mean gradient.
        secret: which the noise comes from.
        clip: longest gradient of one example.
        batch_size: the mean size of a batch, by which the sum is divided.
        allow: called before a step is taken; raises where the budget does not allow it.
    """

    def __init__(
        self, optimizer: Optimizer, *, secret: Secret, clip: float, batch_size: int, allow: Callable[[], None]
    ) -> None:
        super().__init__(optimizer, noise_multiplier=float("nan"), max_grad_norm=clip, expected_batch_size=batch_size)
        self._secret = secret
        self._allow = allow
        self.steps = 0
        """Steps that have been taken, in earlier processes of the run as well."""
        self.is_empty = False
        """Whether the batch holds an example that was not drawn, whose gradient must not count."""

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            with torch.enable_grad():
                closure()
        self._allow()
        self.pre_step()
        self.steps += 1
        return self.original_optimizer.step()

    def clip_and_accumulate(self) -> None:
        super().clip_and_accumulate()
        if self.is_empty:
            for each in self.params:
                each.summed_grad.zero_()

    def add_noise(self) -> None:
        sums = [each.summed_grad for each in self.params]
        for each, noise in zip(self.params, self._noise(sums), strict=True):
            each.grad = (each.summed_grad + noise).view_as(each)

    def _noise(self, sums: list[Tensor]) -> list[Tensor]:
        assert self.noise_multiplier > 0, "set before the first step"
        host = [each.detach().float().cpu().contiguous() for each in sums]
        digest = blake2b(digest_size=32)
        for each in host:
            digest.update(each.numpy().tobytes())
        size = sum(each.numel() for each in host)
        drawn = self._secret.normal(size, b"noise", self.steps, digest.digest())
        flat = torch.from_numpy((drawn * (self.noise_multiplier * self.max_grad_norm)).astype(np.float32))
        parts = flat.split([each.numel() for each in host])
        return [part.view_as(each).to(each) for part, each in zip(parts, sums, strict=True)]
