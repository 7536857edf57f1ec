"""The convolutional blocks of YOLO: backbone, neck and head; the papers are named in `lantu.models.yolo`."""

from collections.abc import Sequence
from functools import partial
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR = 0.01
"""How likely an object is thought at each point before training (Lin et al. 2017)."""


class Convolution(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class Residual(nn.Module):
    """Two 3×3 convolutions, added to what came in unless `shortcut` is False."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(Convolution(width, width, 3), Convolution(width, width, 3))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class CSP(nn.Module):
    """Half of the channels pass through blocks one after the other; all that there was on the way is put together."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.begin = Convolution(inputs, 2 * half)
        self.blocks = nn.ModuleList(Residual(half, shortcut=shortcut) for _ in range(blocks))
        self.end = Convolution((2 + blocks) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.begin(x).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.end(torch.cat(parts, dim=1))


class Pooling(nn.Module):
    """Maxima over windows of 5, 9 and 13 points, beside the features themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.begin, self.end = Convolution(width, width // 2), Convolution(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.begin(x)]
        for _ in range(3):  # 5 over 5 is 9, and again 13
            parts.append(F.max_pool2d(parts[-1], 5, stride=1, padding=2))
        return self.end(torch.cat(parts, dim=1))


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = Convolution(channels, widths[0], 3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(Convolution(before, after, 3, stride=2), CSP(after, after, blocks=count))
            for before, after, count in zip(widths, widths[1:], blocks, strict=False)
        )
        self.pooling = Pooling(widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        x, levels = self.stem(x), []
        for stage in self.stages:
            levels.append(x := stage(x))
        return [*levels[1:-1], self.pooling(levels[-1])]


class Neck(nn.Module):
    """Coarse features help fine ones, then fine ones help coarse ones."""

    def __init__(self, widths: Sequence[int], *, blocks: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down_to_middle = CSP(coarse + middle, middle, blocks=blocks, shortcut=False)
        self.down_to_fine = CSP(middle + fine, fine, blocks=blocks, shortcut=False)
        self.halve_fine = Convolution(fine, fine, 3, stride=2)
        self.up_to_middle = CSP(fine + middle, middle, blocks=blocks, shortcut=False)
        self.halve_middle = Convolution(middle, middle, 3, stride=2)
        self.up_to_coarse = CSP(middle + coarse, coarse, blocks=blocks, shortcut=False)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = levels
        middle = self.down_to_middle(torch.cat([F.interpolate(coarse, scale_factor=2), middle], dim=1))
        fine = self.down_to_fine(torch.cat([F.interpolate(middle, scale_factor=2), fine], dim=1))
        middle = self.up_to_middle(torch.cat([self.halve_fine(fine), middle], dim=1))
        coarse = self.up_to_coarse(torch.cat([self.halve_middle(middle), coarse], dim=1))
        return [fine, middle, coarse]


class Head(nn.Module):
    """At every point of every level: a logit for each class, and for each side of a box logits of its distance."""

    def __init__(self, widths: Sequence[int], *, classes: int, bins: int, separable: bool) -> None:
        super().__init__()
        hidden = widths[0]
        self.bins = bins
        made = partial(_branch, separable=separable)
        self.class_branches = nn.ModuleList(made(width, max(hidden, min(classes, 100)), classes) for width in widths)
        self.box_branches = nn.ModuleList(made(width, hidden, 4 * bins) for width in widths)
        for branch in self.class_branches:
            nn.init.constant_(branch[-1].bias, -log((1 - PRIOR) / PRIOR))  # type: ignore[index]

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits = [branch(level).flatten(2) for branch, level in zip(self.class_branches, levels, strict=True)]
        sides = [branch(level).flatten(2) for branch, level in zip(self.box_branches, levels, strict=True)]
        # in float32: a sigmoid of bfloat16 cannot tell two sure detections apart
        logits_NAC = torch.cat(logits, dim=2).transpose(1, 2).float()
        return logits_NAC, torch.cat(sides, dim=2).transpose(1, 2).float().unflatten(2, (4, self.bins))


def _branch(inputs: int, hidden: int, outputs: int, *, separable: bool) -> nn.Sequential:
    if not separable:
        steps = [Convolution(inputs, hidden, 3), Convolution(hidden, hidden, 3)]
    else:
        steps = [
            Convolution(inputs, inputs, 3, groups=inputs), Convolution(inputs, hidden),
            Convolution(hidden, hidden, 3, groups=hidden), Convolution(hidden, hidden),
        ]  # fmt: skip
    return nn.Sequential(*steps, nn.Conv2d(hidden, outputs, 1))
