"""Measures of retrieval over a whole split: recall among the nearest K, median rank, zero-shot accuracy."""

from typing import TYPE_CHECKING, Any

import scipy
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

if TYPE_CHECKING:
    import pandas as pd

DEPTHS = (1, 5, 10)
DIRECTIONS = ("image_to_text", "text_to_image")
RECALLS = tuple(f"{direction}_recall_{depth}" for direction in DIRECTIONS for depth in DEPTHS)


class Retrieval(Metric):
    """Recall at 1, 5 and 10 and the median rank in both directions, over all pairs that were seen.

    `compute` gives `image_to_text_recall_1` and so on, `image_to_text_median_rank` (1 is best), and `mean_recall`, the
    mean of the six recalls.

    Args:
        intervals: also give the Wilson 95% interval of each recall, as `..._low` and `..._high`.
    """

    full_state_update = False
    parts: tuple[str, ...]
    """The names of the figures that `compute` gives."""
    image: list[Tensor]
    text: list[Tensor]
    numbers: list[Tensor]

    def __init__(self, *, intervals: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.intervals = intervals
        self.parts = ("mean_recall", *RECALLS, *(f"{direction}_median_rank" for direction in DIRECTIONS))
        for name in ("image", "text", "numbers"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, image: Tensor, text: Tensor, numbers: Tensor) -> None:
        """Add pairs: vectors (N, D) and (N, D) of length 1, and a number for each different text (N,)."""
        self.image.append(image.float())
        self.text.append(text.float())
        self.numbers.append(numbers)

    def compute(self) -> dict[str, Tensor]:
        similarity = dim_zero_cat(self.image) @ dim_zero_cat(self.text).T
        return measures(similarity, dim_zero_cat(self.numbers), intervals=self.intervals)


class ZeroShot(Metric):
    """The share of the pictures that are nearest to the name of their own class, as `zero_shot_accuracy`.

    Args:
        classes: how many.
        intervals: also give its Wilson 95% interval.
    """

    full_state_update = False
    parts = ("zero_shot_accuracy",)
    right: Tensor
    seen: Tensor

    def __init__(self, classes: int, *, intervals: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.intervals = intervals
        for name in ("right", "seen"):
            self.add_state(name, default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, classes: Tensor) -> None:
        """Add pictures: scores (N, classes), and class numbers (N,), negative where a picture has none."""
        known = classes >= 0
        self.right += (scores.argmax(-1) == classes)[known].sum()
        self.seen += known.sum()

    def compute(self) -> dict[str, Tensor]:
        if not self.seen:
            return {}
        return share("zero_shot_accuracy", int(self.right), int(self.seen), intervals=self.intervals)


def measures(similarity: Tensor, numbers: Tensor, *, intervals: bool = False) -> dict[str, Tensor]:
    """Recall and median rank from the similarity (N, N) of pictures (rows) and texts, whose numbers are (N,)."""
    found: dict[str, Tensor] = {}
    for direction, ranks in ranks_of(similarity, numbers).items():
        for depth in DEPTHS:
            name = f"{direction}_recall_{depth}"
            found |= share(name, int((ranks <= depth).sum()), len(ranks), intervals=intervals)
        found[f"{direction}_median_rank"] = ranks.double().quantile(0.5).float()
    return {**found, "mean_recall": torch.stack([found[name] for name in RECALLS]).mean()}


def ranks_of(similarity: Tensor, numbers: Tensor) -> dict[str, Tensor]:
    """At which place, from 1, the right one stands, by direction: of each picture (N,) and of each different text (M,).

    A picture is ranked among the different texts, a text among all pictures, of which any with that text is right. Of
    equal scores half are counted as better, so that a model that knows nothing is not lucky.
    """
    _, first = _first_of(numbers)
    texts, right = similarity[:, first], numbers[:, None] == numbers[first][None]
    return {"image_to_text": _ranks(texts, right), "text_to_image": _ranks(texts.T, right.T)}


def chance(numbers: Tensor) -> dict[str, float]:
    """The recalls of a random order."""
    different, first = _first_of(numbers)
    counts = torch.bincount(different)
    total, texts = len(numbers), len(first)
    found = {}
    for depth in DEPTHS:
        found[f"image_to_text_recall_{depth}"] = min(1.0, depth / texts)
        missed = torch.ones(texts, dtype=torch.float64)
        for drawn in range(min(depth, total)):
            missed *= ((total - counts - drawn).clamp(min=0) / (total - drawn)).double()
        found[f"text_to_image_recall_{depth}"] = float((1 - missed).mean())
    return found


def retrieval_table(similarity: Tensor, numbers: Tensor) -> "pd.DataFrame":
    """Each recall with its 95% interval and what a random order would have."""
    import pandas as pd

    found, random = measures(similarity, numbers, intervals=True), chance(numbers)
    names = list(RECALLS)
    return pd.DataFrame(
        {
            "measure": names,
            "value": [float(found[name]) for name in names],
            "low": [float(found[f"{name}_low"]) for name in names],
            "high": [float(found[f"{name}_high"]) for name in names],
            "chance": [random[name] for name in names],
        }
    )


def share(name: str, successes: int, total: int, *, intervals: bool) -> dict[str, Tensor]:
    """A share by name, with its Wilson 95% interval where asked."""
    found = {name: successes / total}
    if intervals:
        interval = scipy.stats.binomtest(successes, total).proportion_ci(method="wilson")
        found |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: torch.tensor(value, dtype=torch.float32) for key, value in found.items()}


def _first_of(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The different numbers counted from 0 (N,), and where each stands first."""
    _, codes = numbers.unique(return_inverse=True)
    places = torch.arange(len(numbers), device=numbers.device)
    first = places.new_full((int(codes.max()) + 1,), len(numbers)).scatter_reduce(0, codes, places, "amin")
    return codes, first


def _ranks(scores: Tensor, right: Tensor) -> Tensor:
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    above = ((scores > best) & ~right).sum(1)
    equal = ((scores == best) & ~right).sum(1)
    return 1 + above + (equal + 1) // 2
