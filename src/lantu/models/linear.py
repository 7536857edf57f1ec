"""One linear layer: linear and logistic regression."""

from torch import Tensor, nn


class Linear(nn.Module):
    """Linear regression, or logistic regression with cross-entropy.

    Args:
        features: numbers per example; an image is flattened to channels × height × width.
        outputs: classes or targets.
        bias: whether there is an intercept.

    Shape: (N, features) or (N, C, H, W) -> (N, outputs).
    """

    def __init__(self, features: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.head = nn.Linear(features, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))
