"""Whether an attribution is true of the model: curves of deletion and insertion, and a test with random weights."""

import copy
from dataclasses import dataclass
from dataclasses import replace as replaced

import numpy as np
import torch
from torch import Tensor, nn

from lantu.responsible.explain.interpretable_inputs import Explained, Method

POINTS = 20
"""Steps of a curve."""
ORDERS = 8
"""Random orders that an attribution's order is compared with, for each example."""
FEWEST = 8
"""Features from which on a rank correlation is looked at: that of a handful is large by chance."""
ALIKE = 0.5
"""Rank correlation with the attribution of a random network from which on the model hardly matters."""


@dataclass(frozen=True)
class Faithfulness:
    """How well a method's attributions tell what the model looks at.

    Args:
        deletion, insertion: mean value along the curve, of each example (N,): features are taken away, or added to a
            blank input, the most important first (Petsiuk et al. 2018).
        gain: of each example (N,), how much better both are than random orders, together; 0 explains nothing.
        curves: mean over the examples at each step: deletion, insertion, and both of random orders (4, POINTS + 1).
        randomised: mean rank correlation of the attributions' sizes with those of the same network with random weights
            (Adebayo et al. 2018); None: there are too few features to tell.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    gain: np.ndarray
    curves: np.ndarray
    randomised: float | None

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean gain, by the bootstrap over examples."""
        if len(self.gain) < 2:
            return float("-inf"), float("inf")
        draws = np.random.default_rng(0).integers(len(self.gain), size=(2000, len(self.gain)))
        low, high = np.quantile(self.gain[draws].mean(axis=1), [0.025, 0.975])
        return float(low), float(high)

    @property
    def warnings(self) -> list[str]:
        """What a person must know before believing the pictures; empty: nothing speaks against them."""
        found = []
        low, high = self.interval
        if high <= 0:
            found.append(
                "explains nothing that can be measured here: deleting what it marks changes the prediction no more "
                "than deleting at random"
            )
        elif low <= 0:
            found.append(
                f"is not told from a random order by {len(self.gain)} examples: the 95% interval of its gain, "
                f"{low:.2g} to {high:.2g}, contains 0. Either it explains nothing, or more examples are needed to see "
                "that it does (`examples=N`)"
            )
        if self.randomised is not None and self.randomised >= ALIKE:
            found.append(
                f"hardly depends on what was learned: with random weights it looks alike (rank correlation "
                f"{self.randomised:.2f})"
            )
        return found


def faithfulness(examples: Explained, found: Tensor, method: Method | None = None) -> Faithfulness:
    """Measure attributions (N, features).

    Args:
        method: which made them, for the test with random weights; None: that test is left out.
    """
    deletion, insertion, gain, curves = [], [], [], []
    random = np.random.default_rng(0)
    for number in range(len(examples.x)):
        there = np.flatnonzero(examples.there(number).numpy())
        ranked = there[np.argsort(-found[number].numpy()[there], kind="stable")]
        orders = [ranked, *(random.permutation(there) for _ in range(ORDERS))]
        removed, added = _curves(examples, number, orders)
        curves.append([removed[0], added[0], removed[1:].mean(axis=0), added[1:].mean(axis=0)])
        deletion.append(removed[0].mean())
        insertion.append(added[0].mean())
        gain.append(removed[1:].mean() - removed[0].mean() + added[0].mean() - added[1:].mean())
    return Faithfulness(
        deletion=np.array(deletion),
        insertion=np.array(insertion),
        gain=np.array(gain),
        curves=np.array(curves).mean(axis=0),
        randomised=None if method is None else _randomised(examples, found, method),
    )


def _curves(examples: Explained, number: int, orders: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values (orders, POINTS + 1) while features are taken away, and while they are added, in each order."""
    x, blank = examples.x[number].flatten(), examples.baseline[number].flatten()
    groups, inputs = examples.groups, []
    for full, empty in ((x, blank), (blank, x)):
        for order in orders:
            for step in range(POINTS + 1):
                done = order[: round(step / POINTS * len(order))]
                places = [place for feature in done for place in groups[feature]]
                changed = full.clone()
                changed[places] = empty[places]
                inputs.append(changed)
    batch = torch.stack(inputs).view(len(inputs), *examples.x.shape[1:])
    values = examples.values(batch, examples.which[number].expand(len(batch)))
    removed, added = values.double().numpy().reshape(2, len(orders), POINTS + 1)
    return removed, added


def _randomised(examples: Explained, found: Tensor, method: Method) -> float | None:
    """Mean rank correlation of the attributions' sizes with those of the same network with random weights.

    Features to which both give nothing, such as a column with one value in all rows, are left out: they agree whatever
    was learned.
    """
    from scipy.stats import spearmanr

    if len(examples.groups) < FEWEST:
        return None
    task = copy.deepcopy(examples.task)
    _draw_weights(task.net)
    other = method(replaced(examples, task=task)).detach()
    correlations = []
    for number in range(len(found)):
        there = examples.there(number)
        one, two = found[number][there].abs().numpy(), other[number][there].abs().numpy()
        given = (one > 1e-12) | (two > 1e-12)
        one, two = one[given], two[given]
        if len(one) >= FEWEST // 2 and np.ptp(one) > 0 and np.ptp(two) > 0:
            correlations.append(float(spearmanr(one, two).statistic))
    return float(np.mean(correlations)) if correlations else None


def _draw_weights(net: nn.Module) -> None:
    """Give every weight another value, drawn with the deviation that the trained ones have."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in net.parameters():
            spread = float(each.float().std()) if each.numel() > 1 else 1.0
            each.copy_(torch.randn(each.shape, generator=random) * (spread or 0.02))
