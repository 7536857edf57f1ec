"""How good generated images are: Fréchet and kernel distance, precision and recall, and coverage of the classes."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.utilities.data import dim_zero_cat

NEIGHBOURS = 3
"""Kynkäänniemi et al. 2019 take the third nearest neighbour."""
MOST_COMPARED = 5000
"""Examples of each kind that precision and recall look at, the first ones: distances of all pairs are taken."""
SUBSETS, SUBSET = 20, 1000
"""Of the kernel distance."""


class GenerationQuality(Metric):
    """Compares features of generated images with those of as many real ones.

    `compute` gives, with the name of the features at the end: `fid`, the Fréchet distance between two normal
    distributions (Heusel et al. 2017); `kid`, the squared maximum mean discrepancy with a cubic kernel (Bińkowski et
    al. 2018); `precision` and `recall`, the shares of generated (real) images that lie within reach of the real
    (generated) ones (Kynkäänniemi et al. 2019). Where the features tell classes: `class_accuracy`, the share of images
    of the class that was asked for (left out where none was), and `least_class_share`, the smallest share of a class
    among the generated images, 1 / classes at best.

    Args:
        name: of the features.
        classes: how many; None: the features tell none.
    """

    full_state_update = False
    real: list[Tensor]
    fake: list[Tensor]
    requested: list[Tensor]
    predicted: list[Tensor]

    def __init__(self, name: str, *, classes: int | None, **options: Any) -> None:
        super().__init__(**options)
        self.name, self.classes = name, classes
        for state in ("real", "fake", "requested", "predicted"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, real: Tensor, fake: Tensor, *, requested: Tensor | None, predicted: Tensor | None) -> None:
        """Add features (N, F) of real and of generated images.

        Args:
            requested: classes that the generator was conditioned on (N,); None: it is not conditional.
            predicted: classes that a classifier predicts of the generated images (N,); None: there is no classifier.
        """
        self.real.append(real)
        self.fake.append(fake)
        if requested is not None:
            self.requested.append(requested)
        if predicted is not None:
            self.predicted.append(predicted)

    def compute(self) -> dict[str, Tensor]:
        real, fake = dim_zero_cat(self.real).float(), dim_zero_cat(self.fake).float()
        found = {}
        if len(real) > 1:
            found = {"fid": frechet_distance(real, fake), "kid": kernel_distance(real, fake)}
        if len(real) > NEIGHBOURS:
            found |= dict(zip(("precision", "recall"), precision_and_recall(real, fake), strict=True))
        found = {f"{name}_{self.name}": value.float() for name, value in found.items()}
        if self.classes is not None and self.predicted:
            predicted = dim_zero_cat(self.predicted)
            if self.requested:
                found["class_accuracy"] = (predicted == dim_zero_cat(self.requested)).float().mean()
            found["least_class_share"] = torch.bincount(predicted, minlength=self.classes).min() / len(predicted)
        return found


class _Given(nn.Module):
    """The features are measured already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, x: Tensor) -> Tensor:
        return x


def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    """The Fréchet distance (Heusel et al. 2017) between features (N, F) and (M, F), as torchmetrics measures it."""
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).to(real.device)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return metric.compute()


def kernel_distance(real: Tensor, fake: Tensor) -> Tensor:
    """The squared kernel distance (Bińkowski et al. 2018), the mean over random subsets that are always the same."""
    size = min(SUBSET, len(real), len(fake))
    metric = KernelInceptionDistance(feature=_Given(real.shape[1]), subsets=SUBSETS, subset_size=size)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):  # the run goes on with its own random numbers
        torch.manual_seed(0)
        return metric.compute()[0]


def precision_and_recall(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Improved precision and recall of features (N, F) and (M, F), N and M above 3."""
    real, fake = real[:MOST_COMPARED], fake[:MOST_COMPARED]
    return _covered(fake, by=real), _covered(real, by=fake)


def _covered(points: Tensor, *, by: Tensor) -> Tensor:
    """The share of points that lie no further from one of the others than its third nearest neighbour does."""
    reach = torch.cdist(by, by).kthvalue(NEIGHBOURS + 1, dim=1).values  # the nearest is the point itself
    return (torch.cdist(points, by) <= reach).any(dim=1).float().mean()
