"""Every claim of the launch page: the gates, and what a decision needs to know besides."""

from collections.abc import Mapping
from typing import Any

from lantu.compare.methods.stored_predictions import calibration, values
from lantu.registry.baseline_line import judge_with_baselines
from lantu.registry.evidence import Evidence
from lantu.registry.line import Line
from lantu.units import format_money

TODO = "TO BE WRITTEN BY A PERSON"
"""The placeholder in a model card where text is missing; see `lantu.responsible.card`."""


def lines_of(
    candidate: Evidence,
    champion: Evidence | None,
    gates: Mapping[str, Any],
    *,
    history: list[dict[str, Any]],
    business: Mapping[str, Any],
    split: str = "test",
) -> list[Line]:
    """The gates' lines, then those without a limit: what was measured, and what is missing.

    Args:
        candidate, champion, gates: as in `judge`.
        history: decisions of the registered model.
        business: the user's assumptions, as in conf/business.
    """
    lines = judge_with_baselines(candidate, champion, gates)
    judged = {each.gate for each in lines}
    more = [
        _absolute(candidate, gates, split),
        _calibration(candidate, split),
        *(_load(candidate) if not judged & {"latency", "cost"} else []),
        _money(candidate, business),
        _wrong_decision(lines, business, champion),
        _export(candidate) if "export" not in judged else None,
        _metric(candidate, "fairness", "fairness/", "the worst group") if "fairness" not in judged else None,
        _metric(candidate, "privacy", "privacy/epsilon", "epsilon") if "privacy" not in judged else None,
        _energy(candidate) if "energy" not in judged else None,
        _rollback(champion, history),
        _card(candidate),
        _intended_use(candidate),
    ]
    return [*lines, *(each for each in more if each is not None)]


def _absolute(candidate: Evidence, gates: Mapping[str, Any], split: str) -> Line:
    name = (
        "accuracy"
        if f"{split}/accuracy" in candidate.metrics
        else str((gates.get("quality") or {}).get("metric", "loss"))
    )
    metric, frame = f"{split}/{name}", candidate.predictions.get(split)
    found = values(frame, metric) if frame is not None else None
    if found is None or len(found) < 2:
        value = candidate.metrics.get(metric)
        claim = f"{metric} is {value:.4g}; its interval is not known" if value is not None else f"{metric} is not known"
        return Line("measured", "not known", claim, "", f"run {candidate.run_id[:8]}", "train with `test=true`")
    mean, half = float(found.mean()), 1.96 * float(found.std(ddof=1)) / len(found) ** 0.5
    claim = f"{metric} is {mean:.4g} [{mean - half:.4g}, {mean + half:.4g}] on {len(found):,} examples"
    source = f"predictions/{split}.parquet"
    return Line("measured", "met", claim, "", source, value=mean, low=mean - half, high=mean + half)


def _calibration(candidate: Evidence, split: str) -> Line | None:
    frame = candidate.predictions.get(split)
    curve = calibration(frame) if frame is not None else None
    if curve is None:
        return None
    low, high = curve.interval
    claim = f"the expected calibration error is {curve.ece:.3f} [{low:.3f}, {high:.3f}]"
    source = f"predictions/{split}.parquet"
    return Line("calibration", "met", claim, "", source, value=curve.ece, low=low, high=high)


def _load(candidate: Evidence) -> list[Line]:
    again = f"lantu load run={candidate.run_id}"
    if candidate.load is None:
        return [
            Line(
                "latency",
                "not known",
                candidate.stale.get("load.json", "the server was not loaded: its latency and cost are unknown"),
                "",
                "load.json",
                again,
            )
        ]
    opened = candidate.load.get("open") or {}
    ms = opened.get("ms") or {}
    at = f" at {opened['rate']:g} requests a second" if opened.get("rate") else ""
    p50 = f" (p50 {ms['p50']:.1f})" if "p50" in ms else ""
    claim = f"p99 is {ms['p99']:.1f} ms{p50}{at}" if "p99" in ms else "no answers"
    lines = [
        Line(
            "latency",
            "met" if "p99" in ms else "not met",
            claim,
            "",
            "load.json, open loop",
            again,
            value=ms.get("p99"),
        )
    ]
    usd = candidate.load.get("usd_per_thousand")
    if usd is not None:
        hourly = candidate.load.get("server_per_hour")
        claim = f"a thousand predictions cost ${usd:.3g} at full load"
        claim += f", with a machine at ${hourly:g} an hour" if hourly is not None else ""
        lines.append(Line("cost", "met", claim, "", "load.json, closed loop", value=usd))
    return lines


def _money(candidate: Evidence, business: Mapping[str, Any]) -> Line:
    value = business.get("value_per_thousand")
    if value is None:
        return Line(
            "money", "not known", "what a prediction earns is not stated, so nothing is said of profit", "",
            "conf/business", "business.value_per_thousand=... (US dollars)",
        )  # fmt: skip
    numbers = [float(each) for each in value] if isinstance(value, list | tuple) else [float(value)]
    usd = (candidate.load or {}).get("usd_per_thousand")
    cost = f", minus ${usd:.3g} of serving" if usd is not None else "; the cost of serving is not known"
    low, high = min(numbers), max(numbers)
    shown = f"${low:g}" if low == high else f"${low:g} to ${high:g}"
    claim = f"a thousand predictions earn {shown} by your figures{cost}"
    return Line(
        "money", "met", claim, "", "your assumptions, and load.json", low=low - (usd or 0), high=high - (usd or 0)
    )


def _wrong_decision(lines: list[Line], business: Mapping[str, Any], champion: Evidence | None) -> Line:
    """What it costs a month if the candidate is as bad as its interval allows."""
    quality = next((each for each in lines if each.gate == "quality" and each.low is not None), None)
    worth, volume = business.get("value_per_quality"), business.get("predictions_per_month")
    if quality is None or quality.low is None or champion is None:
        claim = "there is no measured difference to a champion, so the cost of a wrong decision is not known"
        return Line("risk", "not known", claim, "", "the quality gate", "a champion with stored predictions")
    if not worth or volume is None:
        return Line(
            "risk", "not known", "what a unit of quality is worth is not stated, so a wrong decision has no price", "",
            "conf/business", "business.value_per_quality=... business.predictions_per_month=...",
        )  # fmt: skip
    usd = max(0.0, -quality.low) * _most(worth) * _most(volume) / 1000
    if quality.low >= 0:
        claim = f"even the low end of the interval ({quality.low:+.4g}) is no worse than the champion"
        return Line("risk", "met", claim, "", "the quality gate", value=0.0)
    claim = (
        f"if it is as bad as the interval allows ({quality.low:+.4g}), launching costs up to {format_money(usd)} a "
        "month until it is rolled back"
    )
    return Line("risk", "met", claim, "", "the quality gate, and your assumptions", value=usd)


def _most(figure: Any) -> float:
    """An assumption that is one number, or the upper end of one that is several."""
    return float(max(figure) if isinstance(figure, list | tuple) else figure)


def _intended_use(candidate: Evidence) -> Line:
    """What the card says of the model's use, and of uses that it must not be put to."""
    folder = candidate.folder
    files = [folder / name for name in ("card/card.md", "card.md")] if folder is not None else []
    text = next((each.read_text(encoding="utf-8", errors="replace") for each in files if each.is_file()), "")
    section = text.partition("## Intended use")[2].partition("\n## ")[0].strip()
    if not section or TODO in section:
        claim = "what the model is for, and what it may not be used for, is not written down"
        return Line("use", "not known", claim, "", "the model card", 'write "Intended use" in the card')
    return Line("use", "met", " ".join(section.split()), "", "the model card")


def _export(candidate: Evidence) -> Line | None:
    if not candidate.equality:
        return None
    shown = ", ".join(
        f"{name} ({max(each['largest'].values(), default=0):.1g})" for name, each in candidate.equality.items()
    )
    return Line("export", "met", f"exports with their largest differences: {shown}", "", "equality.json")


def _metric(candidate: Evidence, gate: str, prefix: str, what: str) -> Line | None:
    found = {name: value for name, value in candidate.metrics.items() if name.startswith(prefix)}
    if not found:
        return None
    shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    return Line(gate, "met", f"{what}: {shown}", "", f"run {candidate.run_id[:8]}")


def _energy(candidate: Evidence) -> Line | None:
    kwh = candidate.metrics.get("cost/kwh")
    if kwh is None:
        return None
    usd = candidate.metrics.get("cost/usd")
    money = f" and ${usd:.3g}" if usd is not None else ""
    return Line("energy", "met", f"training took {kwh:.3g} kWh{money}", "", f"run {candidate.run_id[:8]}", value=kwh)


def _rollback(champion: Evidence | None, history: list[dict[str, Any]]) -> Line:
    rehearsed = [each for each in history if each["what"] == "rollback"]
    if rehearsed:
        return Line("rollback", "met", f"was rehearsed on {rehearsed[-1]['at'][:10]}", "", "the registry's history")
    claim = "was never rehearsed" if champion is not None else "there is no champion to go back to"
    return Line("rollback", "not known", claim, "", "the registry's history", "lantu rollback name=...")


def _card(candidate: Evidence) -> Line:
    folder = candidate.folder
    found = [name for name in ("card/card.md", "card.md") if folder is not None and (folder / name).is_file()]
    if found:
        return Line("card", "met", f"the model card is {found[0]}", "", "the run's folder")
    claim = "there is no model card: what the model may not be used for is not written down"
    return Line("card", "not known", claim, "", "the run's folder", f"lantu card run={candidate.run_id}")
