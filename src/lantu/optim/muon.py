"""Muon (Jordan 2024) that runs Newton-Schulz as the device does it best."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import timm.optim
import torch
from timm.optim.muon import (
    _COEFFICIENTS,
    get_lr_scale,
    resolve_ns_coefficients,
    zeropower_via_newtonschulz,
)
from torch import Tensor, nn

from lantu.processor import cpu_has_bf16


class Muon(timm.optim.Muon):
    """timm's Muon with the same options and state, and Newton-Schulz for all matrices of the same shape in one batch.

    A network has dozens of matrices of few shapes. For each one alone, Newton-Schulz is a dozen small products that
    leave most of a GPU idle; batched they fill it. timm computes it in bf16. A CPU without bf16 arithmetic takes up to
    60 times as long for that as for float32, which it therefore uses here. Other CPUs are busy either way, so there
    the step is timm's.

    Args:
        batched: whether to batch; None: on a GPU, and on a CPU that is not known to have bf16 arithmetic.
        options: those of timm's Muon.
    """

    def __init__(self, params: Any, *, batched: bool | None = None, **options: Any) -> None:
        super().__init__(params, **options)
        self.batched = batched

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the batched matrices, and let timm update the rest."""
        if closure is not None:
            with torch.enable_grad():
                loss: float | None = closure()
        else:
            loss = None
        done: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            alike: dict[Any, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if self._joins_a_batch(weight, group):
                    alike[weight.shape, weight.dtype, weight.device].append(weight)
            for weights in alike.values():
                self._step_together(weights, group)
                done += [(weight, weight.grad) for weight in weights if weight.grad is not None]
        for weight, _ in done:
            weight.grad = None  # timm skips parameters without gradient
        super().step()
        for weight, gradient in done:
            weight.grad = gradient
        return loss

    def _joins_a_batch(self, weight: nn.Parameter, group: dict[str, Any]) -> bool:
        batched = weight.is_cuda or not cpu_has_bf16() if self.batched is None else self.batched
        if not batched or weight.grad is None or hasattr(weight, "device_mesh"):
            return False
        plain = group.get("algo", "muon") == "muon" and not (group.get("capturable") or group.get("scale_eps"))
        flat = weight.ndim == 2 or (weight.ndim > 2 and group["conv_mode"] == "flatten")
        return plain and flat and bool(self.state[weight].get("use_muon"))  # set by timm at its first step

    def _step_together(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        momenta = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
        orthogonal = zeropower_via_newtonschulz(
            torch.stack(updates).flatten(2),
            group["ns_steps"],
            resolve_ns_coefficients(group["ns_coefficients"], _COEFFICIENTS),
            eps=group["eps"],
            safety_factor=group["safety_factor"],
            dtype=torch.bfloat16 if weights[0].is_cuda or cpu_has_bf16() else torch.float32,
        )
        adjust = group["adjust_lr_fn"]
        rate = group["lr"] * (get_lr_scale(orthogonal.shape[1:], adjust) if adjust else 1.0)
        torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(
            weights, list(orthogonal.to(weights[0].dtype).view(-1, *weights[0].shape).unbind()), alpha=-rate
        )
