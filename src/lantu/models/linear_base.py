"""A linear model under a network for tables: the network learns what the linear model does not explain."""

import torch
from torch import Tensor, nn


class LinearBase(nn.Module):
    """A fixed linear layer, all zeros until it is fitted; buffers, so that no optimizer changes it.

    Gradient descent hardly finds a small difference of large features, such as an instalment less its share of a loan.
    A linear model that is fitted in closed form finds it at once. Boosting begins in the same way from a margin
    (XGBoost's `base_margin`, LightGBM's `init_score`).

    Args:
        features: numbers per example.
        outputs: classes or targets.

    Shape: (N, features) -> (N, outputs), in the precision of the layer also under autocast.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, features))
        self.register_buffer("bias", torch.zeros(outputs))

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Take fitted weights (outputs, features) and biases (outputs,)."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)
        with torch.autocast(x.device.type, enabled=False):  # bf16 has too few digits for a difference of large numbers
            return nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)
