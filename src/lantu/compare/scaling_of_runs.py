"""The scaling law of the runs that are compared: which of them it is fitted to, and what a FLOP costs."""

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.methods.curves import samples_per_step
from lantu.compare.methods.scaling_fit import Refused, fit
from lantu.compare.methods.scaling_law import Law, effective_samples
from lantu.compare.reading.run_frames import Runs

NAN = float("nan")
SAME_SAMPLES = 1.02
"""Runs whose samples differ by no more than this factor saw the same number: a last, smaller batch makes less."""


def fitted_law(analysis: Analysis) -> tuple[Law | Refused, float]:
    """A law over network size and samples seen, and the money that a FLOP costs (NaN where that is not known).

    It is fitted to runs of the winner's architecture, for each size to those of the best settings.
    """
    runs = analysis.runs
    if analysis.mode != "min" or "loss" not in analysis.metric:
        return Refused(f"scaling laws describe losses, and {analysis.metric} is none; try metric=val/loss."), NAN
    if "model/parameters" not in runs.metrics:
        return Refused("the runs have not logged model/parameters."), NAN
    frame = _points(analysis)
    architecture = analysis.groups.settings.get("choices.model")
    if architecture is not None:  # networks of one kind only: another kind's size is another thing
        same = architecture.index[architecture == architecture[analysis.winner]]
        varied = frame["n"].nunique() > 1
        frame = frame[frame["group"].isin(same)]
        if varied and frame["n"].nunique() == 1 and frame["d"].nunique() == 1:
            return Refused(
                f"model size varies only between architectures; the runs of {architecture[analysis.winner]} all have "
                "one size and have seen as many samples."
            ), NAN
    best = _best_settings(frame)
    is_known = best["d"].notna().all()
    law = fit(
        best["loss"].to_numpy(),
        parameters=best["n"].to_numpy(),
        samples=best["d"].to_numpy() if is_known else None,
        draws=analysis.options.draws,
    )
    usd = runs.metrics.get("cost/usd")
    return law, float((usd / frame["c"]).median()) if usd is not None and is_known else NAN


def _points(analysis: Analysis) -> pd.DataFrame:
    """One row for each run with a loss: parameters n, effective samples d, FLOPs c, loss and group."""
    runs = analysis.runs
    seen = samples_seen(runs)
    distinct = distinct_samples(runs, seen)
    effective = effective_samples(seen.to_numpy(dtype=float), distinct.to_numpy(dtype=float))
    frame = pd.DataFrame(
        {
            "n": runs.metrics["model/parameters"],
            "d": pd.Series(effective, index=seen.index),
            "loss": runs.score,
            "group": analysis.groups.of_run,
        }
    )
    frame["c"] = 6 * frame["n"] * seen
    return frame[frame["loss"].notna()]


def _best_settings(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the settings that are best for a size of network and data."""
    rounded = (np.log(frame["d"].fillna(1.0).clip(lower=1.0)) / np.log(SAME_SAMPLES)).round()
    losses = frame.assign(rounded=rounded).groupby(["n", "rounded", "group"])["loss"].mean()
    best = losses.groupby(["n", "rounded"]).idxmin()
    return frame[frame["group"].isin({group for _, _, group in best})]


def samples_seen(runs: Runs) -> pd.Series:
    """Training samples that each run saw: as logged, or its last step times its batch."""
    for name in ("cost/samples", "train/samples", "progress/samples"):
        if name in runs.metrics:
            return runs.metrics[name]
    return (runs.steps + 1) * samples_per_step(runs)


def distinct_samples(runs: Runs, seen: pd.Series) -> pd.Series:
    """Different training samples of each run: those seen, over its epochs."""
    if "epoch" in runs.metrics:  # logged from 0
        epochs = runs.metrics["epoch"] + 1
    elif "trainer.max_steps" in runs.params or runs.constants.get("trainer.max_steps", "-1") not in ("-1", "None"):
        epochs = pd.Series(1.0, index=seen.index)
    else:
        same = pd.Series(runs.constants.get("trainer.max_epochs"), index=seen.index)
        epochs = pd.to_numeric(runs.params.get("trainer.max_epochs", same), errors="coerce")
    return seen / epochs.where(epochs >= 1, 1.0)
