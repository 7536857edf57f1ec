"""Free-response ROC: the share of findings that are found, by false positives per scan."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which LUNA16 (Setio et al. 2017) reads the curve; `froc_score` is the mean."""
DRAWS = 1000
MOST_NUMBERS = 200_000_000
"""Candidates times draws of the bootstrap; fewer draws are made of more candidates."""


@dataclass(frozen=True)
class FROC:
    """A curve and what is read from it."""

    false_positives: np.ndarray
    """Per scan (K,), rising, at each threshold."""
    sensitivity: np.ndarray
    """(K,) the share of the positive candidates that are found there."""
    at: np.ndarray
    """(7,) sensitivity at `RATES`: the largest with at most so many false positives per scan."""
    score: float
    interval: tuple[float, float]
    """95% of the score, by drawing scans anew."""
    scans: int


def froc(scores: np.ndarray, target: np.ndarray, scans: np.ndarray, *, seed: int = 0) -> FROC:
    """The FROC of candidates. Each positive candidate counts as one finding.

    Scans are those that candidates name. A scan without any candidate is not known here, though it has no false
    positive and belongs among the scans: false positives per scan are then too many, and the sensitivity at each rate
    too low. A finding without a candidate is not counted as missed, which makes the sensitivity too high.

    Args:
        scores: (N,); target: whether each is a finding (N,), some of them; scans: that each is of (N,), any values.
    """
    _, scan = np.unique(scans, return_inverse=True)
    count = int(scan.max()) + 1
    order = np.argsort(-scores, kind="stable")
    y, scan = target[order].astype(bool), scan[order]
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are told apart by no threshold
    wrong, right = _counted(y, np.ones(len(y)), last)
    at = _read(wrong / count, right / right[-1])
    random, drawn = np.random.default_rng(seed), []
    for _ in range(max(50, min(DRAWS, MOST_NUMBERS // len(y)))):
        times = np.bincount(random.integers(0, count, count), minlength=count)[scan]
        if (times * y).any():
            false, true = _counted(y, times, last)
            drawn.append(_read(false / count, true / true[-1]).mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return FROC(wrong / count, right / right[-1], at, float(at.mean()), (float(low), float(high)), count)


def figures(found: FROC) -> dict[str, float]:
    """The score, its interval and the sensitivity at each rate, by the names that are logged."""
    low, high = found.interval
    named = {f"sensitivity_at_{rate:g}_per_scan": float(value) for rate, value in zip(RATES, found.at, strict=True)}
    return {"froc_score": found.score, "froc_low": low, "froc_high": high, **named}


def table(found: FROC) -> dict[str, list[Any]]:
    """What is read from the curve, a row for each rate."""
    return {"false_positives_per_scan": list(RATES), "sensitivity": found.at.tolist()}


def curve(found: FROC) -> "Figure":
    """The curve over the rates of LUNA16, with its score."""
    from lantu.tasks.plots import COLOURS, sheet

    figure, axes = sheet(f"FROC over {found.scans:,} scans")
    axes.step(found.false_positives, found.sensitivity, where="post", color=COLOURS[0], linewidth=1.5)
    axes.plot(RATES, found.at, "o", color=COLOURS[1], label=f"score {found.score:.3f}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.set(
        xlabel="false positives per scan", ylabel="sensitivity", xlim=(RATES[0] / 1.3, RATES[-1] * 1.3), ylim=(0, 1)
    )
    axes.legend(frameon=False, loc="lower right")
    return figure


def _counted(y: np.ndarray, times: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positives (K,) at each threshold, of candidates (N,) in order of their scores.

    Args:
        times: how often each counts; last: whether a candidate is the last of those with its score.
    """
    return np.cumsum(times * ~y)[last], np.cumsum(times * y)[last]


def _read(false_positives: np.ndarray, sensitivity: np.ndarray) -> np.ndarray:
    place = np.searchsorted(false_positives, np.array(RATES) + 1e-12, side="right") - 1
    return np.where(place >= 0, sensitivity[place], 0.0)
