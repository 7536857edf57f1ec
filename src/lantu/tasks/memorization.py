"""Whether a generator copies its training images, and what distance even real images have from each other."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lantu.tasks.generation_quality import frechet_distance
from lantu.tasks.image_features import features_of


class Split(NamedTuple):
    """Real images (N, C, H, W) that are read by their numbers."""

    read: Callable[[list[int]], Tensor]
    size: int


class BesideTraining(NamedTuple):
    """Generated images beside the training images that are nearest to them."""

    copies: Tensor
    """(N, C, H, W), generated; the nearest to a training image first."""
    nearest: Tensor
    """(N, C, H, W), of training."""
    nearest_ratio: float
    """Median distance of generated images to the nearest training image over that of test images. Far below 1 the
    generator copies training images."""
    fid_floor: float
    """Fréchet distance of training images from test images; NaN of a single one."""


def compare_with_training(
    generated: Tensor, train: Split, test: Split, features: nn.Module, *, compared: int, seed: int, shown: int = 10
) -> BesideTraining:
    """Look for the nearest training image of each generated image, by their features.

    Args:
        generated: (N, C, H, W); as many test images are looked up.
        compared: training images among which the nearest is looked for, and test images at most.
        seed: of which training images those are.
        shown: images to return.
    """
    chosen = np.random.default_rng(seed).permutation(train.size)[:compared]
    known = features_of(features, train.read, chosen)
    unseen = features_of(features, test.read, np.arange(min(test.size, compared)))
    ours = torch.cat([features(part).float().cpu() for part in generated.split(500)])
    near, far = torch.cdist(ours, known).min(dim=1), torch.cdist(unseen[: len(ours)], known).min(dim=1).values
    count = min(len(known), len(unseen))
    closest = near.values.argsort()[:shown]
    return BesideTraining(
        copies=generated[closest],
        nearest=train.read(chosen[near.indices[closest]].tolist()),
        nearest_ratio=float(near.values.median() / far.median().clamp(min=1e-12)),
        fid_floor=float(frechet_distance(unseen[:count], known[:count])) if count > 1 else float("nan"),
    )
