"""Enlarge small images for networks that need large ones."""

import torch.nn.functional as F
from torch import Tensor, nn


class Upscale(nn.Module):
    """Enlarge images bilinearly, with the same aspect ratio, before a network that needs at least `min_size` pixels.

    Args:
        net: takes (N, C, H, W).
        min_size: pixels of the shorter side; larger images are not changed.

    Shape: (N, C, H, W) -> the output of `net`.
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
