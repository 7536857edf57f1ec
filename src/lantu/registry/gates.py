"""Gates of a promotion: each is one claim with its interval, its limit, its source, and how to meet it."""

import math
from collections.abc import Mapping
from typing import Any

from lantu.compare.methods.stored_predictions import compare_pair, values
from lantu.errors import UserError
from lantu.metric_direction import direction
from lantu.registry.evidence import Evidence
from lantu.registry.line import Line
from lantu.registry.run_gates import check_fairness, drift_line, fairness_line

PARTS = {
    "quality": {"metric", "split", "worse_by", "level"},
    "cost": {"usd_per_thousand"},
    "latency": {"p99_ms"},
    "errors": {"share"},
    "size": {"mb"},
    "export": {"format"},
    "fairness": {"metric", "most", "least"},
    "privacy": {"metric", "most"},
    "drift": {"most"},
    "energy": {"metric", "most"},
}
"""The gates, and the options of each."""


def check_gates(gates: Mapping[str, Any]) -> None:
    """Raise a `UserError` for a gate or an option that there is not."""
    from lantu.suggestions import did_you_mean

    for name, options in gates.items():
        if name not in PARTS:
            raise UserError(f"`gate.{name}`: there is no such gate.{did_you_mean(name, PARTS)}")
        for option in options or {}:
            if option not in PARTS[name]:
                raise UserError(f"`gate.{name}.{option}`: the gate {name} has {', '.join(sorted(PARTS[name]))}.")
    check_fairness(gates.get("fairness") or {})


def judge(candidate: Evidence, champion: Evidence | None, gates: Mapping[str, Any]) -> list[Line]:
    """The result of each gate that has a limit.

    Args:
        candidate: what is to be promoted.
        champion: what serves now; None: nothing does.
        gates: by name, as in conf/gate; a limit of null leaves a gate out.
    """
    check_gates(gates)
    lines: list[Line] = []
    for name, options in gates.items():
        given = dict(options or {})
        line = _quality(candidate, champion, given) if name == "quality" else _of_run(name, candidate, given)
        if line is not None:
            lines.append(line)
    return lines


def verdict_of(lines: list[Line]) -> str:
    """go: all gates are met; no-go: one is not met; not yet: one is not known, or no gate has a limit."""
    if not lines:
        return "not yet"
    verdicts = {each.verdict for each in lines}
    return "no-go" if "not met" in verdicts else "not yet" if "not known" in verdicts else "go"


def _quality(candidate: Evidence, champion: Evidence | None, options: dict[str, Any]) -> Line | None:
    if options.get("worse_by") is None:
        return None
    split, level, worse_by = options.get("split", "test"), options.get("level", 0.95), float(options["worse_by"])
    metric = f"{split}/{options.get('metric', 'loss')}"
    frame = candidate.predictions.get(split)
    limit = f"at most {worse_by:g} worse than the champion, at {level:.0%} confidence"
    source = f"predictions/{split}.parquet of run {candidate.run_id[:8]}"
    if champion is None:
        return _first(candidate, metric, limit, source)
    if frame is None or champion.predictions.get(split) is None:
        who, of = ("the candidate", candidate) if frame is None else ("the champion", champion)
        why = of.stale.get(f"predictions/{split}.parquet", f"{who} stored no predictions of the {split} split")
        remedy = f"train {who} again with `callbacks=[default]`, which stores predictions, and `test=true`"
        return Line("quality", "not known", why, limit, source, remedy)
    pair = compare_pair(("candidate", frame), ("champion", champion.predictions[split]), metric, level=level)
    if pair is None or not _same_examples(candidate, champion, split):
        why = f"{metric} cannot be compared: the two were not measured on the same examples"
        return Line("quality", "not known", why, limit, source, "train both on the same data with the same split")
    sign = 1.0 if direction(metric) == "max" else -1.0
    low, high = sorted((sign * pair.low, sign * pair.high))
    better = sign * pair.difference
    source += f" and {champion.run_id[:8]}, {pair.number} examples of both"
    claim = f"{metric} is {abs(better):.4g} {'better' if better >= 0 else 'worse'} [{low:+.4g}, {high:+.4g}]"
    found: dict[str, Any] = {"metric": metric, "value": better, "low": low, "high": high}
    if not all(map(math.isfinite, (better, low, high))):
        claim = f"{metric} is not a finite number for every example"
        return Line("quality", "not known", claim, limit, source, "look for NaN in the stored predictions")
    if low >= -worse_by:
        return Line("quality", "met", claim, limit, source, **found)
    if high < -worse_by:
        return Line("quality", "not met", claim, limit, source, "train a better candidate", **found)
    remedy, more = more_examples(pair.number, better, low, worse_by)
    return Line("quality", "not known", claim, limit, source, remedy, examples=more, room=better + worse_by, **found)


def _first(candidate: Evidence, metric: str, limit: str, source: str) -> Line:
    """The first version is compared with nothing, but its own metric must have been measured."""
    value = candidate.metrics.get(metric)
    frame = candidate.predictions.get(metric.partition("/")[0])
    found = values(frame, metric) if frame is not None else None
    shown = f"{metric} {value:.4g}" if value is not None else ""
    if found is not None and len(found) > 1:
        half = 1.96 * float(found.std(ddof=1)) / math.sqrt(len(found))
        value = float(found.mean())
        shown = f"{metric} {value:.4g} [{value - half:.4g}, {value + half:.4g}]"
    if value is None or not math.isfinite(value):
        why = f"{metric} was not measured" if value is None else f"{metric} is {value}"
        return Line("quality", "not known", why, limit, source, "train with `test=true`")
    claim = f"{shown}; there is no other champion to compare with"
    return Line("quality", "met", claim, limit, source, value=value)


def _same_examples(one: Evidence, two: Evidence, split: str) -> bool:
    """Whether two runs predicted for the same examples: by their stored targets, else by the split's digest.

    Without either nothing is known of it, and the answer is no.
    """
    frames = [each.predictions[split] for each in (one, two)]
    if not all("target" in each for each in frames):
        digests = {each.lineage.get(f"data, {split}") for each in (one, two)}
        return len(digests) == 1 and None not in digests
    first, second = (each.set_index("row") if "row" in each else each for each in frames)
    common = first.index.intersection(second.index)
    return bool((first.loc[common, "target"].astype(str) == second.loc[common, "target"].astype(str)).all())


def more_examples(number: int, better: float, low: float, worse_by: float) -> tuple[str, int | None]:
    """How many examples would decide, if the difference stayed as it is: the interval shrinks with their root."""
    half, room = better - low, better + worse_by
    if room <= 0:
        return "the best estimate is beyond the limit: train a better candidate", None
    more = math.ceil(number * (half / room) ** 2) - number
    return f"about {more:,} more test examples decide it, if the difference stays as it is", more


def _of_run(name: str, candidate: Evidence, options: dict[str, Any]) -> Line | None:
    if name == "export":
        return _export(candidate, options.get("format"))
    if name == "fairness":
        return fairness_line(candidate, options)
    if name == "drift":
        return drift_line(candidate, options.get("most"))
    limits = {key: value for key, value in options.items() if key != "metric"}
    limit = next(iter(limits.values()), None)
    if limit is None:
        return None
    value, what, unit, source, remedy = _measured(name, candidate, options)
    shown = f"at most {float(limit):g}{unit}"
    if value is None:
        file = "privacy.json" if name == "privacy" else source
        why = candidate.stale.get(file, f"{what} is not known")
        return Line(name, "not known", why, shown, source, remedy)
    met = value <= float(limit)
    at = f" at delta {candidate.delta:g}" if name == "privacy" and candidate.delta is not None else ""
    claim = f"{what} is {value:.4g}{unit}{at}"
    return Line(name, "met" if met else "not met", claim, shown, source, "" if met else remedy, value=value)


def _measured(name: str, candidate: Evidence, options: dict[str, Any]) -> tuple[float | None, str, str, str, str]:
    """A value, what it is, its unit, its source, and how to change it."""
    load = candidate.load or {}
    again = f"lantu load run={candidate.run_id}"
    if name == "cost":
        remedy = f"{again}   (with server_per_hour=PRICE)" if not load else "a smaller model, or a cheaper machine"
        return load.get("usd_per_thousand"), "the cost of a thousand predictions", " USD", "load.json", remedy
    if name == "latency":
        found = (load.get("open") or {}).get("ms", {}).get("p99")
        remedy = "a smaller model, or fewer requests for each server" if load else again
        return found, "p99 in the open loop", " ms", "load.json", remedy
    if name == "errors":
        loops = [load[each] for each in ("closed", "open") if load.get(each)]
        requests, lost = sum(each["requests"] for each in loops), sum(sum(each["errors"].values()) for each in loops)
        share = lost / requests if requests else None
        return (
            share,
            "the share of requests that failed",
            "",
            "load.json",
            "the server's log says why" if load else again,
        )
    if name == "size":
        size = candidate.bytes / 1e6 if candidate.bytes is not None else None
        return size, "the size of the weights", " MB", "the run's folder", "lantu export ... precision=int8"
    metric = str(options.get("metric"))
    remedies = {
        "privacy": "train with `privacy=dp`; that of a run of a sweep is known when the sweep has ended",
        "energy": "train with `callbacks=[default]`, which measures energy",
    }
    return candidate.metrics.get(metric), f"`{metric}`", "", f"run {candidate.run_id[:8]}", remedies[name]


def _export(candidate: Evidence, form: str | None) -> Line | None:
    if form is None:
        return None
    found = candidate.equality.get(str(form))
    remedy = f"lantu export run={candidate.run_id} format={form}"
    if found is None:
        why = candidate.stale.get(f"export/{form}/equality.json", f"there is no export to {form}")
        return Line("export", "not known", why, "equal answers", "equality.json", remedy)
    worst = max(found["largest"].values(), default=0.0)
    claim = f"the export to {form} differs by {worst:.2g} at most, on {found['examples']} examples"
    return Line("export", "met" if found["equal"] else "not met", claim, "equal answers", "equality.json", value=worst)
