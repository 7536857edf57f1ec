"""The parts of an analysis that take longer, for the report: importance, curves, scaling law, return on investment."""

from dataclasses import dataclass

import numpy as np

from lantu.compare.analysis import Analysis
from lantu.compare.methods.curves import Curve, curves, hardware_use
from lantu.compare.methods.importance import Importance, importance
from lantu.compare.methods.roi import Measured, Outlook, missing_assumptions, outlook
from lantu.compare.methods.scaling_fit import Refused
from lantu.compare.methods.scaling_law import Law
from lantu.compare.reading.run_frames import Reader
from lantu.compare.scaling_of_runs import fitted_law

SHOWN_CURVES = 6
"""Groups whose learning curves are drawn: as many as eyes can tell apart."""


@dataclass(frozen=True)
class FurtherAnalysis:
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


def analyse_further(analysis: Analysis, reader: Reader) -> FurtherAnalysis:
    """Work out the parts that only the report shows."""
    shown = list(analysis.comparison.scored.index[:SHOWN_CURVES])
    if analysis.cheapest and analysis.cheapest not in shown:
        shown[-1] = analysis.cheapest
    law, usd_per_flop = fitted_law(analysis)
    outlooks, no_outlook = _outlooks(analysis)
    return FurtherAnalysis(
        importance=importance(analysis.comparison.scored["mean"], analysis.groups, mode=analysis.mode),
        curves=curves(reader, analysis.runs, analysis.groups, metric=analysis.metric, shown=shown),
        hardware=hardware_use(reader, analysis.runs, analysis.groups, shown=shown),
        law=law,
        usd_per_flop=usd_per_flop,
        outlooks=outlooks,
        no_outlook=no_outlook,
    )


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
