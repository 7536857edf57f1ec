"""Random augmentation of training pictures, determined by seed, epoch and example alone.

It depends neither on the global random state nor on the worker process. So a resumed run continues exactly, and any
number of workers produces the same pictures.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lantu.errors import UserError

POLICIES = ("randaugment", "trivial")
_FLIP, _SHIFT_Y, _SHIFT_X, _ERASE, _AREA, _ASPECT, _ERASE_Y, _ERASE_X, _TRANSFORMS = range(9)
"""What each uniform random number of an example decides."""


class Draws(NamedTuple):
    """What the augmentation of a batch depends on."""

    seed: int
    epoch: int
    examples: np.ndarray
    """Numbers of the examples (N,)."""
    repeats: np.ndarray
    """How often each of them came before in this epoch (N,)."""

    def uniform(self, purpose: int) -> np.ndarray:
        """Return a number in [0, 1) for each example (N,)."""
        return (self.bits(purpose) >> np.uint64(11)) * 2.0**-53

    def bits(self, purpose: int) -> np.ndarray:
        """Return 64 random bits for each example (N,)."""
        mixed = np.zeros(len(self.examples), dtype=np.uint64)
        for part in (self.seed, self.epoch, self.examples, self.repeats, purpose):
            mixed = _mix(mixed ^ np.asarray(part, dtype=np.uint64))
        return mixed


class Augment:
    """Augmentation of training pictures. Flips, shifts and erasing work on a whole batch at once and cost little.

    Args:
        flip: probability that a picture is mirrored left to right; not for pictures with writing.
        shift: largest translation in each direction, as a share of the side; border pixels are repeated.
        erase: probability that a rectangle of 2% to 33% of a picture is replaced by its mean colour (Zhong et al.
            2020).
        zoom: smallest share of a picture's area that is cropped and scaled back to its size; 1: no cropping.
        policy: randaugment (Cubuk et al. 2020) or trivial (TrivialAugment, Müller and Hutter 2021), of torchvision.
        magnitude: of randaugment, 0 to 30.
        transforms: further ones of torchvision.transforms.v2, applied to each picture.
        mixup: alpha of the Beta distribution that mixes pairs of pictures and their targets (Zhang et al. 2018).
        cutmix: the same for pasting a part of one into another (Yun et al. 2019); with both, half of the batches each.
    """

    def __init__(
        self,
        *,
        flip: float = 0.0,
        shift: float = 0.0,
        erase: float = 0.0,
        zoom: float = 1.0,
        policy: str | None = None,
        magnitude: int = 9,
        transforms: list[Callable[..., Any]] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        for name, value in {"flip": flip, "erase": erase}.items():
            if not 0 <= value <= 1:
                raise UserError(f"`augment.{name}={value}` is a probability, 0 to 1.")
        if not 0 <= shift < 1:
            raise UserError(f"`augment.shift={shift}` is a share of the side, at least 0 and below 1.")
        if not 0 < zoom <= 1:
            raise UserError(f"`augment.zoom={zoom}` is a share of the area, above 0 and at most 1.")
        if policy is not None and policy not in POLICIES:
            raise UserError(f"`augment.policy={policy}`: policies are {' and '.join(POLICIES)}, or null.")
        if not 0 <= magnitude <= 30:
            raise UserError(f"`augment.magnitude={magnitude}` must lie between 0 and 30.")
        for name, value in {"mixup": mixup, "cutmix": cutmix}.items():
            if value < 0:
                raise UserError(f"`augment.{name}={value}` is the alpha of a Beta distribution, 0 (off) or more.")
        self.flip = flip
        self.shift = shift
        self.erase = erase
        self.zoom = zoom
        self.policy = policy
        self.magnitude = magnitude
        self.transforms = transforms or []
        self.mixup = mixup
        self.cutmix = cutmix

    def pictures(self, x: Tensor, draws: Draws) -> Tensor:
        """Return augmented copies of pictures, uint8 (N, H, W, C)."""
        if self.zoom < 1 or self.policy or self.transforms:
            x = self._each(x, draws)
        if self.flip:
            mirrored = torch.from_numpy(draws.uniform(_FLIP) < self.flip)
            x = torch.where(mirrored[:, None, None, None], x.flip(2), x)
        if self.shift:
            x = self._shifted(x, draws)
        return self._erased(x, draws) if self.erase else x

    def mixed(self, x: Tensor, y: Tensor, draws: Draws, *, classes: int | None) -> tuple[Tensor, Tensor]:
        """Mix pairs of pictures (N, C, H, W), and their targets in the same shares, by mixup or CutMix.

        Args:
            classes: how many there are; targets (N,) become shares of the classes (N, classes). None: targets are
                numbers, and are mixed as such.
        """
        if not (self.mixup or self.cutmix) or len(x) < 2:
            return x, y
        random = np.random.default_rng((draws.seed, draws.epoch, int(draws.examples[0]), int(draws.repeats[0])))
        cut = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        kept = torch.from_numpy(random.beta(alpha, alpha, size=len(x)).astype(np.float32))
        partner = x.roll(1, 0)
        if cut:
            x, kept = _pasted(x, partner, kept, random)
        else:
            share = kept.view(-1, *[1] * (x.ndim - 1))
            x = x * share + partner * (1 - share)
        targets = y.float() if classes is None else F.one_hot(y, classes).float()
        share = kept.view(-1, *[1] * (targets.ndim - 1))
        return x, targets * share + targets.roll(1, 0) * (1 - share)

    def _each(self, x: Tensor, draws: Draws) -> Tensor:
        """Apply torchvision's transforms to each picture, with torch's generator seeded for each."""
        pipeline = self._pipeline(x.shape[1], x.shape[2])
        changed = torch.empty_like(x)
        with _restored_random_state():
            for number, seed in enumerate(draws.bits(_TRANSFORMS).tolist()):
                torch.default_generator.manual_seed(seed >> 1)
                picture = x[number].permute(2, 0, 1)
                for transform in pipeline:
                    picture = transform(picture)
                changed[number] = picture.permute(1, 2, 0)
        return changed

    def _pipeline(self, height: int, width: int) -> list[Callable[..., Any]]:
        from torchvision.transforms import v2

        pipeline = list(self.transforms)
        if self.zoom < 1:
            size = (height, width)
            pipeline.append(v2.RandomResizedCrop(size, scale=(self.zoom, 1.0), ratio=(0.8, 1.25), antialias=True))
        if self.policy == "randaugment":
            pipeline.append(v2.RandAugment(magnitude=self.magnitude))
        elif self.policy == "trivial":
            pipeline.append(v2.TrivialAugmentWide())
        return pipeline

    def _shifted(self, x: Tensor, draws: Draws) -> Tensor:
        height, width = x.shape[1:3]
        most = (min(round(self.shift * height), height - 1), min(round(self.shift * width), width - 1))
        padded = np.pad(x.numpy(), ((0, 0), (most[0],) * 2, (most[1],) * 2, (0, 0)), mode="edge")
        top = (draws.uniform(_SHIFT_Y) * (2 * most[0] + 1)).astype(int)
        left = (draws.uniform(_SHIFT_X) * (2 * most[1] + 1)).astype(int)
        moved = np.empty_like(x.numpy())
        for number, (y, z) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
            moved[number] = padded[number, y : y + height, z : z + width]
        return torch.from_numpy(moved)

    def _erased(self, x: Tensor, draws: Draws) -> Tensor:
        height, width = x.shape[1:3]
        area = (0.02 + 0.31 * draws.uniform(_AREA)) * height * width
        aspect = np.exp((2 * draws.uniform(_ASPECT) - 1) * np.log(3.3))
        tall = np.clip(np.sqrt(area * aspect), 1, height).astype(int)
        wide = np.clip(np.sqrt(area / aspect), 1, width).astype(int)
        top = (draws.uniform(_ERASE_Y) * (height - tall + 1)).astype(int)
        left = (draws.uniform(_ERASE_X) * (width - wide + 1)).astype(int)
        x = x.clone()
        for number in np.flatnonzero(draws.uniform(_ERASE) < self.erase):
            mean = x[number].float().mean(dim=(0, 1)).round().to(x.dtype)
            x[number, top[number] : top[number] + tall[number], left[number] : left[number] + wide[number]] = mean
        return x


@contextmanager
def _restored_random_state() -> Iterator[None]:
    """Restore torch's random state afterwards: dropout continues from it."""
    before = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _mix(bits: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele et al. 2014): each input bit changes about half of the output bits."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _pasted(x: Tensor, partner: Tensor, kept: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """CutMix: return pictures with a rectangle of their partner's, and the share (N,) of each that is its own."""
    x, share = x.clone(), torch.empty_like(kept)
    height, width = x.shape[-2:]
    for number, own in enumerate(kept.tolist()):
        side = (1 - own) ** 0.5
        middle = random.random(2)
        top, bottom = (round(np.clip((middle[0] + sign * side / 2), 0, 1) * height) for sign in (-1, 1))
        left, right = (round(np.clip((middle[1] + sign * side / 2), 0, 1) * width) for sign in (-1, 1))
        x[number, :, top:bottom, left:right] = partner[number, :, top:bottom, left:right]
        share[number] = 1 - (bottom - top) * (right - left) / (height * width)
    return x, share
