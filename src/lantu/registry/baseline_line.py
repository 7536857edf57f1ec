"""A first version has no champion to beat: whether the candidate beats the simple models of its own test."""

import re
from collections.abc import Mapping
from typing import Any

from lantu.registry.evidence import Evidence
from lantu.registry.gates import judge, more_examples
from lantu.registry.line import Line

LIMIT = "better than every simple model on the same test rows, at 95% confidence"
AHEAD = re.compile(r"baseline/(.+)_([^_/]+)_ahead")
"""The metric that holds by how much a run is better than a baseline: the baseline's name, the compared metric."""


def judge_with_baselines(candidate: Evidence, champion: Evidence | None, gates: Mapping[str, Any]) -> list[Line]:
    """As `judge`; where there is no champion to be no worse than, the candidate must beat the simple models as well."""
    lines = judge(candidate, champion, gates)
    if champion is None and "quality" in {each.gate for each in lines}:
        lines.append(_baseline_line(candidate, gates["quality"]))
    return lines


def _baseline_line(candidate: Evidence, options: Mapping[str, Any]) -> Line:
    """The comparison with trivial, linear and boosted models, as `baselines=true` measured it.

    Args:
        options: of the gate `quality`, whose metric is compared where the baselines have it.
    """
    source = f"run {candidate.run_id[:8]}"
    found = _differences(candidate, str(options.get("metric", "loss")))
    if not found:
        if candidate.tried_baselines:
            why = "nothing was compared with it: there is no champion, and its task has no simple models for the test"
            return Line("baseline", "not known", why, "", source, "compare it with what you have: `lantu compare`")
        why = "no simple model was fitted on the same rows, so nothing says that a network is needed"
        why = candidate.stale.get("baselines.json", why)
        return Line(
            "baseline", "not known", why, LIMIT, source, f"lantu evaluate run={candidate.run_id} baselines=true"
        )
    name, metric, value, low, high = min(found, key=lambda each: each[3])
    sign = "better" if value >= 0 else "worse"
    claim = f"test/{metric} is {abs(value):.4g} {sign} than that of the {name} model [{low:+.4g}, {high:+.4g}]"
    measured: dict[str, Any] = {"metric": f"test/{metric}", "value": value, "low": low, "high": high}
    if low > 0:
        return Line("baseline", "met", f"{claim}, the closest of {len(found)}", LIMIT, source, **measured)
    if high < 0:
        return Line("baseline", "not met", claim, LIMIT, source, f"launch the {name} model", **measured)
    remedy, more = f"launch the {name} model, which does as well, or train a better candidate", None
    if value > 0 and (frame := candidate.predictions.get("test")) is not None:
        remedy, more = more_examples(len(frame), value, low, 0.0)
    return Line("baseline", "not known", claim, LIMIT, source, remedy, examples=more, room=value, **measured)


def _differences(candidate: Evidence, metric: str) -> list[tuple[str, str, float, float, float]]:
    """Name, metric, difference and its interval for each baseline; above 0 the candidate is better."""
    found: list[tuple[str, str, float, float, float]] = []
    for name in candidate.metrics:
        match = AHEAD.fullmatch(name)
        if match and f"{name}_low" in candidate.metrics and f"{name}_high" in candidate.metrics:
            value, low, high = (candidate.metrics[f"{name}{end}"] for end in ("", "_low", "_high"))
            found.append((match[1], match[2], value, low, high))
    return [each for each in found if each[1] == metric] or found
