"""Free-response ROC: the share of findings that are found, by false positives per scan."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from lantu.tasks.detection_matching import Match

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
    """(K,) the share of the findings that are found there."""
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
    y = target.astype(bool)
    return _froc(scores, y, scan, np.bincount(scan[y], minlength=int(scan.max()) + 1), seed=seed)


def froc_of_detector(matches: "Sequence[Match]", *, seed: int = 0) -> FROC | None:
    """The FROC of predicted boxes: each picture is a scan, each true box a finding, whether it is hit or not.

    Args:
        matches: of each picture, those without any box too.

    Returns:
        None where there is no finding.
    """
    findings = np.array([len(each.truth) for each in matches])
    if not findings.sum():
        return None
    counted = [~each.ignored for each in matches]
    scores = np.concatenate([each.scores[rows] for each, rows in zip(matches, counted, strict=True)])
    hits = np.concatenate([each.hits[rows] >= 0 for each, rows in zip(matches, counted, strict=True)])
    scan = np.repeat(np.arange(len(matches)), [rows.sum() for rows in counted])
    return _froc(scores, hits, scan, findings, seed=seed)


def _froc(scores: np.ndarray, target: np.ndarray, scan: np.ndarray, findings: np.ndarray, *, seed: int) -> FROC:
    """The curve of candidates (N,) in scans of numbers `scan` (N,), each scan (S,) with its number of findings."""
    count = len(findings)
    order = np.argsort(-scores, kind="stable")
    y, scan = target[order], scan[order]
    last = np.append(np.diff(scores[order]) != 0, np.ones(min(len(y), 1), bool))  # equal scores: one threshold
    wrong, right = _counted(y, np.ones(len(y)), last)
    false_positives, sensitivity = wrong / count, right / findings.sum()
    at = _read(false_positives, sensitivity)
    random, drawn = np.random.default_rng(seed), []
    for _ in range(max(50, min(DRAWS, MOST_NUMBERS // max(len(y), 1)))):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        if total := (times * findings).sum():
            false, true = _counted(y, times[scan], last)
            drawn.append(_read(false / count, true / total).mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return FROC(false_positives, sensitivity, at, float(at.mean()), (float(low), float(high)), count)


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
    place = np.searchsorted(false_positives, np.array(RATES) + 1e-12, side="right")
    return np.insert(sensitivity, 0, 0.0)[place]
