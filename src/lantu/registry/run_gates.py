"""The gates of fairness and drift: differences between groups of the test, and the newest report of `lantu monitor`."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from lantu.errors import UserError
from lantu.registry.evidence import Evidence
from lantu.registry.line import Line, Verdict

METRIC = "demographic_parity_difference"


def check_fairness(options: Mapping[str, Any]) -> None:
    """Raise a `UserError` for a limit on the wrong side: of a difference less is better, of a ratio more."""
    metric = str(options.get("metric") or METRIC)
    wrong, right = ("most", "least") if metric.endswith("_ratio") else ("least", "most")
    if options.get(wrong) is not None:
        better = "more" if right == "least" else "less"
        raise UserError(
            f"`gate.fairness.{wrong}={options[wrong]}`: of {metric} {better} is better; set `gate.fairness.{right}`."
        )


def fairness_line(candidate: Evidence, options: Mapping[str, Any]) -> Line | None:
    """Whether the groups of every measured column are within the limit, by the interval of each difference.

    Args:
        options: `metric` as `lantu.responsible.fairness` names it, such as equalized_odds_difference, or in full for
            one column, such as fairness/sex/equalized_odds_difference; `most`, or of a ratio `least`.
    """
    metric = str(options.get("metric") or METRIC)
    most, least = options.get("most"), options.get("least")
    if most is None and least is None:
        return None
    limit = f"at most {float(most):g}" if most is not None else f"at least {float(least or 0):g}"
    source = f"run {candidate.run_id[:8]}"
    found = {name: _of_gap(candidate, name, most=most, least=least) for name in _gaps(candidate, metric)}
    unknown = [] if "/" in metric else [each for each in candidate.groups if _gap(each, metric) not in found]
    if not found or unknown:
        what = f"`{metric}` of {', '.join(unknown)} is not known" if unknown else f"`{metric}` is not known"
        if not unknown:
            what = candidate.stale.get("fairness.json", what)
        remedy = (
            f"more test examples of the groups of {', '.join(unknown)}, or a lower `fairness.least`"
            if unknown
            else f"lantu evaluate run={candidate.run_id} fairness.group=[COLUMN]"
        )
        return Line("fairness", "not known", what, limit, source, remedy)
    order: tuple[Verdict, ...] = ("not met", "not known", "met")
    sign = 1 if most is not None else -1
    name = min(found, key=lambda each: (order.index(found[each]), -sign * candidate.metrics[each]))
    value, low, high = (candidate.metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    interval = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else "; its interval is not known"
    remedy, more = _more_of_a_group(candidate, name, value, (low, high), most=most, least=least)
    remedies = {"met": "", "not met": "train with `fairness=mitigate`", "not known": remedy}
    claim = f"`{name}` is {value:.4g}{interval}"
    return Line(
        "fairness", found[name], claim, limit, source, remedies[found[name]],
        examples=more if found[name] == "not known" else None, value=value, low=low, high=high,
    )  # fmt: skip


def _more_of_a_group(
    candidate: Evidence,
    name: str,
    value: float | None,
    ends: tuple[float | None, float | None],
    *,
    most: float | None,
    least: float | None,
) -> tuple[str, int | None]:
    """How many more examples of the smallest group decide, if the difference stays as it is.

    The interval shrinks with the root of that group's size, which dominates it.
    """
    sizes = candidate.group_sizes.get(name.split("/")[1], {}) if name.count("/") == 2 else {}
    low, high = ends
    if not sizes or value is None or low is None or high is None:
        return "more test examples of each group", None
    room = float(most) - value if most is not None else value - float(least or 0)
    half = high - value if most is not None else value - low
    if room <= 0:
        return "train with `fairness=mitigate`: the best estimate is beyond the limit", None
    group = min(sizes, key=lambda each: sizes[each])
    more = max(1, ceil(sizes[group] * (half / room) ** 2) - sizes[group])
    return f"about {more:,} more labelled test examples of `{group}` decide it, if the difference stays as it is", more


def _gap(column: str, metric: str) -> str:
    return f"fairness/{column.replace(' ', '_')}/{metric}"


def _gaps(candidate: Evidence, metric: str) -> list[str]:
    if "/" in metric:
        return [metric] if metric in candidate.metrics else []
    return [name for name in candidate.metrics if name.startswith("fairness/") and name.endswith(f"/{metric}")]


def _of_gap(candidate: Evidence, name: str, *, most: float | None, least: float | None) -> Verdict:
    low, high = (candidate.metrics.get(f"{name}{end}") for end in ("_low", "_high"))
    if low is None or high is None:
        return "not known"
    if most is not None:
        return "met" if high <= most else "not met" if low > most else "not known"
    assert least is not None
    return "met" if low >= least else "not met" if high < least else "not known"


def drift_line(candidate: Evidence, most: float | None) -> Line | None:
    """How many comparisons of the newest `monitoring.json` in the run's folder show a change."""
    if most is None:
        return None
    limit, remedy = f"at most {float(most):g} changes", f"lantu monitor run={candidate.run_id} new=FILE"
    report = candidate.monitoring
    if report is None:
        why = (
            "new rows were not compared with the training rows" if candidate.folder else "the run's folder is not here"
        )
        why = candidate.stale.get("monitoring.json", why)
        return Line("drift", "not known", why, limit, "monitoring.json in the run's folder", remedy)
    changed, compared = len(report["drifted"]), len(report["findings"])
    claim = f"{changed} of {compared} comparisons show a change, in {report['rows']:,} rows of {report['new']}"
    source = f"monitoring/{report['at']}/monitoring.json"
    met = changed <= float(most)
    return Line("drift", "met" if met else "not met", claim, limit, source, "" if met else remedy, value=float(changed))
