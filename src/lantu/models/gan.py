"""Generative adversarial networks: a generator and a discriminator, both told the class of the image."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError

SMALLEST = 8
"""Side in pixels below which no stage halves an image any more."""
MOST_CHANNELS = 512


class Generator(nn.Module):
    """A generator with one argument, as it is exported.

    Shape: {"noise": (N, noise), "class": (N,)} -> images (N, channels, height, width) in [-1, 1].
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = self.net(x["noise"], x["class"])
        return found


class GAN(nn.Module):
    """What both kinds have in common; a subclass gives the layers between its smallest stage and the image.

    The generator takes noise (N, noise) and class numbers (N,) and returns images (N, channels, height, width) in
    [-1, 1]. The discriminator takes such images and class numbers and returns logits (N,), higher for real images.

    Args:
        channels, height, width: of the images.
        classes: how many there are.
        pixel_mean, pixel_std: by channel, by which the data module has standardised bytes.
        noise: length of the noise vector.
        channels_first: of the stage with the most pixels; each stage below has twice as many channels, at most 512.
        conditional: false: neither network is told the class.
    """

    objective = "non_saturating"
    """The loss that the kind was published with; see `lantu.tasks.Adversarial`."""
    penalty = 0.0
    """The weight of the gradient penalty that it was published with."""
    generator: nn.Module
    discriminator: nn.Module

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        classes: int,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        noise: int = 64,
        channels_first: int = 32,
        conditional: bool = True,
    ) -> None:
        super().__init__()
        if min(channels, height, width, classes, noise, channels_first) < 1:
            raise UserError("`model.noise`, `model.channels_first` and the image's sides must be at least 1.")
        self.channels, self.height, self.width, self.classes = channels, height, width, classes
        self.noise, self.conditional = noise, conditional
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)
        stages = max(1, ceil(log2(max(height, width) / SMALLEST)))
        self.widths = [min(MOST_CHANNELS, channels_first * 2**number) for number in reversed(range(stages))]
        """Channels of each stage, from the fewest pixels to the most."""
        self.base = (ceil(height / 2**stages), ceil(width / 2**stages))
        """Height and width of the smallest stage."""

    def use_layers(self, up: nn.Sequential, down: nn.Sequential) -> None:
        """Build both networks.

        Args:
            up: from the smallest stage (N, widths[0], *base) to an image, of the generator.
            down: from an image to the smallest stage, of the discriminator.
        """
        self.generator = _Generator(self, up)
        self.discriminator = _Discriminator(self, down)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Images (N, channels, height, width) in [-1, 1] of noise (N, noise) and class numbers (N,)."""
        return self.generator(z, y)

    def images(self, x: Tensor) -> Tensor:
        """Standardised images (N, channels, height, width) as images in [-1, 1]."""
        return (x * self.pixel_std + self.pixel_mean) / 127.5 - 1


class DCGAN(GAN):
    """DCGAN (Radford et al. 2016): strided convolutions with batch norm; the first of the GANs that trained well.

    The class is added as in Mirza and Osindero (2014) to the generator, as a projection (Miyato and Koyama 2018) to the
    discriminator.

    Args:
        channels, height, width, classes, options: of `GAN`.
    """

    def __init__(self, channels: int, height: int, width: int, classes: int, **options: Any) -> None:
        super().__init__(channels, height, width, classes, **options)
        up, down = nn.Sequential(), nn.Sequential()
        for inputs, outputs in zip(self.widths, [*self.widths[1:], self.channels], strict=True):
            up.extend([nn.BatchNorm2d(inputs), nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)])
        backwards = self.widths[::-1]
        down.extend([nn.Conv2d(self.channels, backwards[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)])
        for inputs, outputs in pairwise(backwards):
            convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
            down.extend([convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)])
        self.use_layers(up, down)
        self.apply(_normal)


class R3GAN(GAN):
    """R3GAN (Huang et al. 2024): residual blocks without norms, for the relativistic loss with R1 and R2 penalties.

    A block is 1×1, grouped 3×3 and 1×1 convolutions whose last begins at zero (fix-up, Zhang et al. 2019). Ours differs
    where an image of 28 pixels needs less: a strided convolution reads it, a pixel shuffle writes it, resampling is by
    nearest neighbours and means, and there is one block a stage.

    Args:
        channels, height, width, classes, options: of `GAN`.
        blocks: of each stage.
        group: channels of a group of the 3×3 convolutions.
    """

    objective = "relativistic"
    penalty = 1.0

    def __init__(
        self, channels: int, height: int, width: int, classes: int, *, blocks: int = 1, group: int = 16, **options: Any
    ) -> None:
        super().__init__(channels, height, width, classes, **options)
        up, down = nn.Sequential(), nn.Sequential()
        for number, outputs in enumerate(self.widths):
            if number:
                up.append(_he(nn.Conv2d(self.widths[number - 1], outputs, 1, bias=False)))
                up.append(nn.Upsample(scale_factor=2, mode="nearest"))
            up.extend(_Block(outputs, group) for _ in range(blocks))
        up.extend(
            [nn.LeakyReLU(0.2), _he(nn.Conv2d(self.widths[-1], 4 * self.channels, 3, padding=1)), nn.PixelShuffle(2)]
        )
        backwards = self.widths[::-1]
        down.append(_he(nn.Conv2d(self.channels, backwards[0], 4, stride=2, padding=1)))
        for number, inputs in enumerate(backwards):
            down.extend(_Block(inputs, group) for _ in range(blocks))
            if number + 1 < len(backwards):
                down.append(nn.AvgPool2d(2))
                down.append(_he(nn.Conv2d(inputs, backwards[number + 1], 1, bias=False)))
        down.append(nn.LeakyReLU(0.2))
        self.use_layers(up, down)


class _Generator(nn.Module):
    """From noise and class to the smallest stage, then `body`, cut to the image's size."""

    def __init__(self, gan: GAN, body: nn.Sequential) -> None:
        super().__init__()
        class_size = gan.noise // 2 if gan.conditional else 0
        self.size, self.shape = (gan.height, gan.width), (gan.widths[0], *gan.base)
        self.label = nn.Embedding(gan.classes, class_size) if gan.conditional else None
        self.first = nn.Linear(gan.noise + class_size, gan.widths[0] * gan.base[0] * gan.base[1])
        self.body = body

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        if self.label is not None:
            z = torch.cat([z, self.label(y)], dim=1)
        x = self.body(self.first(z).unflatten(1, self.shape))
        return x[:, :, : self.size[0], : self.size[1]].tanh()


class _Discriminator(nn.Module):
    """`body` to the smallest stage, then a logit, to which the features' projection on the class is added."""

    FEATURES = 64

    def __init__(self, gan: GAN, body: nn.Sequential) -> None:
        super().__init__()
        stages = len(gan.widths)
        self.padding = (0, gan.base[1] * 2**stages - gan.width, 0, gan.base[0] * 2**stages - gan.height)
        self.body = body
        self.features = nn.Linear(gan.widths[0] * gan.base[0] * gan.base[1], self.FEATURES)
        self.label = nn.Embedding(gan.classes, self.FEATURES) if gan.conditional else None
        self.logit = nn.Linear(self.FEATURES, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.body(F.pad(x, self.padding) if any(self.padding) else x)
        features = F.leaky_relu(self.features(x.flatten(1)), 0.2)
        logit = self.logit(features).squeeze(1)
        if self.label is None:
            return logit
        return logit + (features * self.label(y)).sum(dim=1) / self.FEATURES**0.5


class _Block(nn.Module):
    """Residual: 1×1, grouped 3×3, 1×1 convolutions with leaky ReLUs; the identity at first."""

    def __init__(self, width: int, group: int) -> None:
        super().__init__()
        groups = width // group if width % group == 0 else 1
        self.layers = nn.Sequential(
            _he(nn.Conv2d(width, width, 1)),
            nn.LeakyReLU(0.2),
            _he(nn.Conv2d(width, width, 3, padding=1, groups=groups)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 1, bias=False),
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _he(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(layer.weight, a=0.2)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _normal(module: nn.Module) -> None:
    """DCGAN's initialisation."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
