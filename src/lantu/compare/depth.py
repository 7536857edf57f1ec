"""The parts of an analysis that take longer, for the report: importance, curves, scaling law, return on investment."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.methods.curves import Curve, curves, hardware_use, samples_per_step
from lantu.compare.methods.importance import Importance, importance
from lantu.compare.methods.roi import Measured, Outlook, missing_assumptions, outlook
from lantu.compare.methods.scaling import Law, Refused, effective_samples, fit
from lantu.compare.reading.run_frames import Reader, Runs

SHOWN_CURVES = 6
"""Groups whose learning curves are drawn: as many as eyes can tell apart."""


@dataclass(frozen=True)
class Depth:
    """The parts that take longer, for the report."""

    importance: Importance
    curves: dict[str, dict[str, Curve]]
    hardware: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]
    """By metric and group, minutes and how busy the machine was."""
    law: Law | Refused
    usd_per_flop: float
    outlooks: dict[str, Outlook]
    """By group: the winner, and the cheapest that is as good."""
    no_outlook: str | None
    """Why there is no return on investment."""


def deepen(analysis: Analysis, reader: Reader) -> Depth:
    """Work out the parts that only the report shows."""
    shown = list(analysis.comparison.scored.index[:SHOWN_CURVES])
    if analysis.cheapest and analysis.cheapest not in shown:
        shown[-1] = analysis.cheapest
    law, usd_per_flop = fitted_law(analysis)
    outlooks, no_outlook = _outlooks(analysis)
    return Depth(
        importance=importance(analysis.comparison.scored["mean"], analysis.groups, mode=analysis.mode),
        curves=curves(reader, analysis.runs, analysis.groups, metric=analysis.metric, shown=shown),
        hardware=hardware_use(reader, analysis.runs, analysis.groups, shown=shown),
        law=law,
        usd_per_flop=usd_per_flop,
        outlooks=outlooks,
        no_outlook=no_outlook,
    )


def fitted_law(analysis: Analysis) -> tuple[Law | Refused, float]:
    """A law over network size and samples seen; of the winner's architecture, of each size the best settings."""
    if analysis.mode != "min" or "loss" not in analysis.metric:
        return Refused(f"scaling laws describe losses, and {analysis.metric} is none; try metric=val/loss."), float(
            "nan"
        )
    runs = analysis.runs
    sizes, samples = runs.metrics.get("model/parameters"), seen(runs)
    if sizes is None:
        return Refused("the runs have not logged model/parameters."), float("nan")
    distinct = unique(runs, samples)
    worth = pd.Series(
        effective_samples(samples.to_numpy(dtype=float), distinct.to_numpy(dtype=float)), index=samples.index
    )
    frame = pd.DataFrame({"n": sizes, "d": worth, "loss": runs.score, "group": analysis.groups.of_run})
    frame["c"] = 6 * frame["n"] * samples
    frame = frame[frame["loss"].notna()]
    architecture = analysis.groups.settings.get("choices.model")
    if architecture is not None:  # networks of one kind only: another kind's size is another thing
        same = architecture.index[architecture == architecture[analysis.winner]]
        varied = frame["n"].nunique() > 1
        frame = frame[frame["group"].isin(same)]
        if varied and frame["n"].nunique() == 1 and frame["d"].nunique() == 1:
            return Refused(
                f"model size varies only between architectures; the runs of {architecture[analysis.winner]} all have "
                "one size and have seen as many samples."
            ), float("nan")
    # samples vary by rounding (a last, smaller batch): two runs within two per cent saw the same
    frame["about"] = (np.log(frame["d"].fillna(1.0).clip(lower=1.0)) / np.log(1.02)).round()
    best = frame.groupby(["n", "about", "group"])["loss"].mean().groupby(["n", "about"]).idxmin()
    chosen = {place[2] for place in best}
    kept = frame[frame["group"].isin(chosen)]
    known = kept["d"].notna().all()
    law = fit(
        kept["loss"].to_numpy(),
        parameters=kept["n"].to_numpy(),
        samples=kept["d"].to_numpy() if known else None,
        draws=analysis.options.draws,
    )
    usd = runs.metrics.get("cost/usd")
    rate = float((usd / frame["c"]).median()) if usd is not None and known else float("nan")
    return law, rate


def seen(runs: Runs) -> pd.Series:
    """Training samples that each run saw: as logged, or its last step times its batch."""
    for name in ("cost/samples", "train/samples", "progress/samples"):
        if name in runs.metrics:
            return runs.metrics[name]
    return (runs.steps + 1) * samples_per_step(runs)


def unique(runs: Runs, samples: pd.Series) -> pd.Series:
    """Different training samples of each run: those seen, over its epochs."""
    if "epoch" in runs.metrics:  # logged from 0
        epochs = runs.metrics["epoch"] + 1
    elif "trainer.max_steps" in runs.params or runs.constants.get("trainer.max_steps", "-1") not in ("-1", "None"):
        epochs = pd.Series(1.0, index=samples.index)
    else:
        same = pd.Series(runs.constants.get("trainer.max_epochs"), index=samples.index)
        epochs = pd.to_numeric(runs.params.get("trainer.max_epochs", same), errors="coerce")
    return samples / epochs.where(epochs >= 1, 1.0)


def _outlooks(analysis: Analysis) -> tuple[dict[str, Outlook], str | None]:
    business = analysis.options.business
    if not business:
        return {}, "no business assumptions were given (business=default)."
    missing = missing_assumptions(business)
    if missing:
        return {}, (
            f"it needs your own numbers: {', '.join(f'business.{name}=...' for name in missing)}, or a file "
            "conf/business/NAME.yaml and business=NAME."
        )
    means = analysis.means
    if not business.get("predictions_per_second") and "speed/latency_ms" not in means:
        return {}, "the runs measured no latency; give business.predictions_per_second."
    wanted = [analysis.winner, *([analysis.cheapest] if analysis.cheapest else [])]
    spent = analysis.total("cost/usd")
    found = {}
    for label in dict.fromkeys(wanted):
        row, parts = means.loc[label], analysis.comparison.table.loc[label]
        error = float(parts["sd"] / np.sqrt(parts["seeds"])) if parts["seeds"] > 1 else 0.0
        latency = float(row.get("speed/latency_ms", np.nan))
        speed = 1000 / latency if latency > 0 else float("nan")
        if not (np.isfinite(speed) or business.get("predictions_per_second")):
            continue
        usd = float(row.get("cost/usd", np.nan))
        measured = Measured(
            quality=float(parts["mean"]),
            sd=error,
            mode=analysis.mode,
            samples_per_second=speed,
            usd_to_train=usd if np.isfinite(usd) else 0.0,
            invested=spent if np.isfinite(spent) else 0.0,
        )
        found[label] = outlook(measured, business)
    return found, None if found else "the best configurations have no latency; give business.predictions_per_second."
