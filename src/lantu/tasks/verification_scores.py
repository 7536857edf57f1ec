"""How well embeddings tell people apart: error rates over all pairs, and rank-1 identification."""

from math import isnan
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

FALSE_ACCEPTS = {"1pct": 0.01, "0.1pct": 0.001}
DRAWS = 200


class VerificationScores(Metric):
    """Compares every image of a split with every other one by the cosine of their embeddings.

    `compute` gives `eer`, the error rate at the threshold where as many pairs of one person are rejected as pairs of
    two are accepted; `tar_at_far_1pct` and `tar_at_far_0.1pct`, the share of pairs of one person that are accepted
    where that share of pairs of two are; and `rank1_accuracy`, the share of images whose most similar other image is of
    the same person. A rate that the pairs are too few for is left out.
    """

    full_state_update = False
    parts = ("eer", "rank1_accuracy", *(f"tar_at_far_{name}" for name in FALSE_ACCEPTS))
    """The names that `compute` gives, where pairs are enough."""
    embeddings: list[Tensor]
    people: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for state in ("embeddings", "people"):
            self.add_state(state, [], dist_reduce_fx="cat")
        self.eer_threshold: float | None = None
        """The cosine of the equal error rate that was computed last, over the pairs of all ranks."""

    def update(self, embedding: Tensor, person: Tensor) -> None:
        """Count embeddings (N, D) and the numbers of their people (N,)."""
        self.embeddings.append(embedding)
        self.people.append(person)

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each pair its cosine (P,), whether it is of one person (P,), and the people of both (P,) and (P,)."""
        return pairs_of(dim_zero_cat(self.embeddings), dim_zero_cat(self.people))

    def compute(self) -> dict[str, Tensor]:
        embeddings, people = dim_zero_cat(self.embeddings), dim_zero_cat(self.people)
        cosine, same, _, _ = self.pairs()
        found = {"rank1_accuracy": rank_one(embeddings, people)}
        self.eer_threshold = None
        if 0 < same.sum() < len(same):
            reached = rates(cosine, same)
            found |= {name: value for name, (value, _) in reached.items()}
            self.eer_threshold = reached["eer"][1]
        return {name: torch.tensor(value, dtype=torch.float32) for name, value in found.items() if not isnan(value)}


def pairs_of(embeddings: Tensor, people: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of N images once; see `VerificationScores.pairs`."""
    normed = F.normalize(embeddings.float(), dim=1)
    first, second = torch.triu_indices(len(normed), len(normed), offset=1)
    cosine = (normed @ normed.T)[first, second]
    one, other = people[first], people[second]
    return tuple(each.cpu().numpy() for each in (cosine, one == other, one, other))  # type: ignore[return-value]


def rates(cosine: np.ndarray, same: np.ndarray, weight: np.ndarray | None = None) -> dict[str, tuple[float, float]]:
    """Error and acceptance rates with the cosine at which each is reached: `eer`, `tar_at_far_1pct`, ...

    Args:
        cosine: of each pair (P,); same: whether it is of one person (P,); weight: of each pair (P,).
    """
    weight = np.ones(len(cosine)) if weight is None else weight
    order = np.argsort(-cosine, kind="stable")
    cosine, same, weight = cosine[order], same[order], weight[order]
    accepted, wrong = np.cumsum(weight * same), np.cumsum(weight * ~same)
    last = np.append(np.flatnonzero(np.diff(cosine)), len(cosine) - 1)  # pairs of one cosine are accepted together
    threshold = cosine[last]
    tar, far = accepted[last] / max(accepted[-1], 1e-12), wrong[last] / max(wrong[-1], 1e-12)
    found = {}
    place = int(np.argmax(far >= 1 - tar))
    before = (1.0, 0.0) if place == 0 else (1 - tar[place - 1], far[place - 1])
    gap_before, gap = before[0] - before[1], far[place] - (1 - tar[place])
    share = gap_before / (gap_before + gap) if gap_before + gap > 0 else 0.0
    found["eer"] = (float(before[1] + share * (far[place] - before[1])), float(threshold[place]))
    for name, rate in FALSE_ACCEPTS.items():
        allowed = np.flatnonzero(far <= rate)
        enough = (~same).sum() * rate >= 1
        if enough:
            best = allowed[-1] if len(allowed) else None
            value = (float(tar[best]), float(threshold[best])) if best is not None else (0.0, float(threshold[0]))
            found[f"tar_at_far_{name}"] = value
    return found


def threshold_for_strangers(similarity: Tensor, person: Tensor, *, rate: float) -> float:
    """The cosine from which a probe is accepted so that a stranger seldom is, by the images of the gallery.

    Each person of the gallery is a stranger to the others. A stranger is compared with all of them, so the largest
    similarity counts, and the threshold rises with the number of people: it keeps the false positive identification
    rate (ISO/IEC 19795-1) where the threshold of a pair would not. People are counted and not images, since images of
    one person are not independent; P people cannot tell a rate below one in P.

    Args:
        similarity: of each image of the gallery to each person (M, P), two people or more.
        person: the number of each image's own person (M,).
        rate: the share of the people of whom an image may reach the threshold; 0: none.
    """
    own = F.one_hot(person, similarity.shape[1]).bool()
    of_images = similarity.masked_fill(own, -2).amax(dim=1)
    of_people = of_images.new_full((similarity.shape[1],), -2).scatter_reduce(0, person, of_images, "amax")
    largest = of_people.sort(descending=True).values
    refused = largest[min(int(rate * len(largest)), len(largest) - 1)]
    return float(torch.nextafter(refused, refused.new_tensor(2.0)))


def rank_one(embeddings: Tensor, people: Tensor) -> float:
    """The share of images whose most similar other image is of the same person, of people with two or more."""
    normed = F.normalize(embeddings.float(), dim=1)
    cosine = (normed @ normed.T).fill_diagonal_(-2)
    repeated = (people[:, None] == people).sum(dim=1) > 1
    hit = people[cosine.argmax(dim=1)] == people
    return float(hit[repeated].float().mean())


def interval_over_people(embeddings: Tensor, people: Tensor, *, level: float = 0.95) -> tuple[float, float]:
    """An interval of the EER for other people: people are drawn again with repetition (bootstrap, Efron 1979).

    Pairs of one person share what is hard about them, so pairs are no independent draws and people are.
    """
    cosine, same, one, other = pairs_of(embeddings, people)
    numbers = np.unique(people.cpu().numpy())
    one, other = np.searchsorted(numbers, one), np.searchsorted(numbers, other)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(len(numbers), size=len(numbers)), minlength=len(numbers))
        weight = np.where(same, times[one], times[one] * times[other]).astype(float)
        if weight[same].sum() and weight[~same].sum():
            drawn.append(rates(cosine, same, weight)["eer"][0])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
