"""Enlarge small images for networks that need large ones."""

import torch.nn.functional as F
from torch import Tensor, nn


class Upscale(nn.Module):
    """Enlarges images bilinearly before a network that needs `min_size` pixels, keeping their proportions.

    Args:
        net: takes (N, C, H, W).
        min_size: pixels of the shorter side; larger images pass unchanged.

    Shape: (N, C, H, W) -> what `net` answers.
    """

    def __init__(self, net: nn.Module, min_size: int) -> None:
        super().__init__()
        self.net = net
        self.min_size = min_size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if (shorter := min(height, width)) < self.min_size:
            size = (round(height * self.min_size / shorter), round(width * self.min_size / shorter))
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return self.net(x)
