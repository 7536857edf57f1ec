"""The report: one HTML file that needs no network and no other file; without script only its explorer is missing."""

import re
from datetime import datetime
from html import escape
from pathlib import Path

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import TIED, number, rounded
from lantu.compare.further_analysis import FurtherAnalysis, analyse_further
from lantu.compare.phrases import counted
from lantu.compare.reading.run_frames import Reader
from lantu.compare.recommendation import Decision, decide
from lantu.compare.report import charts, charts_cost, charts_lines
from lantu.compare.report.example_section import examples_section
from lantu.compare.report.explorer import explorer_section
from lantu.compare.report.listing import runs_section
from lantu.compare.report.outlook import business_section, forecast_section, scrolling, section
from lantu.compare.report.slices_section import slices_section
from lantu.whole_files import write_whole

MOST_ROWS = 30


LEFT_OUT = (TIED, "cost/kwh", "cost/co2e_kg", "cost/device_hours", "speed/samples_per_second")
"""Columns that a file has and the page leaves out: the page has to be read."""


def write_report(analysis: Analysis, reader: Reader, path: Path) -> tuple[Decision, FurtherAnalysis]:
    """Write the report of an analysis; gives the decision and the parts that were worked out for it."""
    further = analyse_further(analysis, reader)
    decision = decide(analysis, further)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(analysis, further, decision))
    return decision, further


def page(analysis: Analysis, further: FurtherAnalysis, decision: Decision) -> str:
    """The whole page."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    title = f"Comparison: {_named(analysis)}"
    sections = [
        _decision(decision, analysis),
        _ranking(analysis),
        _table(analysis),
        _trade_offs(analysis),
        _mattered(analysis, further),
        _curves(analysis, further),
        _hardware(analysis, further),
        slices_section(analysis),
        examples_section(analysis),
        forecast_section(analysis, further),
        business_section(analysis, further),
        explorer_section(analysis),
        runs_section(analysis),
        _method(analysis),
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{style}</style></head>
<body><main>
<header><p class="kicker">Lantu comparison · {datetime.now():%d %B %Y, %H:%M}</p><h1>{escape(_named(analysis))}</h1>
<p class="kicker">{_scope(analysis)}</p></header>
{"".join(each for each in sections if each)}
</main></body></html>
"""


def _named(analysis: Analysis) -> str:
    chosen = analysis.selection
    if chosen.sweeps or chosen.experiments or chosen.runs or chosen.filter:
        said = chosen.words()
    else:
        said = f"experiment {analysis.runs.info['experiment'].iloc[-1]}"
    return said[0].upper() + said[1:]


def _scope(analysis: Analysis) -> str:
    better = "less is better" if analysis.mode == "min" else "more is better"
    configurations = len(analysis.comparison.table)
    return (
        f"{counted(len(analysis.runs), 'run')} of {counted(configurations, 'configuration')} · "
        f"decided by {escape(analysis.metric)} at the best epoch ({better})"
    )


def _decision(decision: Decision, analysis: Analysis) -> str:
    named = list(analysis.comparison.table.index[:2]) + [each for each in (decision.ship, analysis.cheapest) if each]
    items = "".join(f"<li>{_marked(each, named)}</li>" for each in decision.sentences)
    caution = "".join(f"<li>{_marked(each, named)}</li>" for each in decision.caution)
    caution = f'<ul class="caution">{caution}</ul>' if caution else ""
    tiles = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(what)}</span><small>{escape(detail)}</small></div>'
        for figure, what, detail in decision.tiles
    )
    return (
        f'<section class="decision"><p class="headline">{_marked(decision.headline, named)}</p><ul>{items}</ul>'
        f"{caution}</section>"
        f'<div class="tiles">{tiles}</div>'
    )


def _marked(sentence: str, labels: list[str]) -> str:
    """A sentence with the configurations in it set apart: their names are long and full of spaces."""
    text = escape(sentence)
    for label in sorted(set(labels), key=len, reverse=True):
        text = re.sub(rf"(?<![\w=.]){re.escape(escape(label))}(?![\w=]|\.\d)", lambda m: f"<em>{m[0]}</em>", text)
    return text


def _ranking(analysis: Analysis) -> str:
    comparison = analysis.comparison
    level = f"{comparison.level:.0%}"
    if comparison.tested:
        lead = (
            f"Large dot: the mean over seeds; small dots: single seeds; line: {level} interval of the mean. "
            "Blue and filled: statistically tied with the best. The interval of the best is corrected for having been "
            "chosen, so it reaches further towards worse values."
        )
    else:
        lead = "The spread between seeds is not known: how much of the difference is luck cannot be said."
    more = len(comparison.scored) - charts.MOST_RANKED
    note = f'<p class="note">{counted(more, "more configuration")} not shown here.</p>' if more > 0 else ""
    return section("Who won, and how sure that is", lead, charts.ranking(analysis) + note)


def _table(analysis: Analysis) -> str:
    table = analysis.table.head(MOST_ROWS)
    table.attrs = analysis.table.attrs
    left_out = LEFT_OUT if "cost/usd" in table else LEFT_OUT[:1]
    shown = rounded(table).drop(columns=list(left_out), errors="ignore")
    numeric = {str(name): name not in table or table[name].dtype.kind in "fi" for name in shown.columns}
    head = "".join(
        f'<th class="{"n" if numeric[str(name)] else ""}">{_heading(str(name))}</th>' for name in shown.columns
    )
    rows = []
    alike = analysis.comparison.table["alike"]
    for label, cells in shown.iterrows():
        classes = ("alike " if analysis.comparison.tested and alike[label] else "") + (
            "first" if label == analysis.winner else ""
        )
        line = "".join(
            f'<td class="{"n" if numeric[str(name)] else ""}" data-label="{escape(str(name), quote=True)}">'
            f"{_cell(str(cell))}</td>"
            for name, cell in cells.items()
        )
        rows.append(f'<tr class="{classes}">{line}</tr>')
    more = len(analysis.table) - len(table)
    constants = _constants(analysis)
    note = f'<p class="note">{counted(more, "more row")} left out; table=FILE.csv writes all.</p>' if more > 0 else ""
    lead = (
        f"Best first; shaded rows are statistically tied with the best. Means over seeds, "
        f"{analysis.comparison.level:.0%} intervals, p corrected for all pairs."
    )
    if not analysis.comparison.tested:
        lead = "Best first."
    body = f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    body = scrolling(body, "Configurations")
    return section("Configurations", lead, body + note + constants)


def _heading(name: str) -> str:
    first, slash, rest = name.partition("/")
    return f"{escape(first)}/<wbr>{escape(rest)}" if slash else escape(name)


def _cell(text: str) -> str:
    mean, sign, half = text.partition(" ± ")
    return f"{escape(mean)} <small>± {escape(half)}</small>" if sign else escape(text)


def _constants(analysis: Analysis) -> str:
    """What is the same everywhere, folded away."""
    same = {
        name: value
        for name, value in sorted(analysis.runs.constants.items())
        if not name.startswith(("paths.", "logger", "callbacks.", "hydra.")) and value not in ("None", "{}", "[]")
    }
    folded = analysis.groups.folded
    parts = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(_cut(value))}</code></dd>" for name, value in same.items()
    )
    parts += "".join(
        f"<dt>{escape(name)}</dt><dd>follows {escape(leader)}</dd>" for name, leader in sorted(folded.items())
    )
    if not parts:
        return ""
    summary = "Shared settings and derived settings"
    return f"<details><summary>{summary}</summary><dl>{parts}</dl></details>"


def _cut(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _trade_offs(analysis: Analysis) -> str:
    pictures = charts_cost.trade_offs(analysis)
    if not pictures or len(analysis.comparison.table) < 2:
        return ""
    lead = (
        "Each point is a configuration. The dashed steps join the Pareto front: no other configuration is better on "
        "both axes."
    )
    body = f'<div class="charts">{"".join(pictures)}</div>{charts_cost.trade_off_legend(analysis)}'
    return section("Quality against cost", lead, body)


def _mattered(analysis: Analysis, further: FurtherAnalysis) -> str:
    found = further.importance
    if len(analysis.comparison.table) < 3:
        return ""
    pictures = [] if found.refused else [charts.importances(analysis, further)]
    pictures += charts.marginals(analysis, further)
    histogram = charts.distribution(analysis)
    pictures += [histogram] if histogram and len(pictures) % 2 else []
    lead = (
        escape(f"Importance is not given: {found.refused}")
        if found.refused
        else f"A random forest predicts the score of held-out configurations with R² {found.explained:.2f}. "
        "In the small pictures, blue: medians; orange diamond: the best configuration."
    )
    body = f'<div class="charts">{"".join(pictures)}</div>'
    strong = found.interactions[found.interactions["share"] >= 0.03] if len(found.interactions) else found.interactions
    if len(strong):
        short = analysis.groups.short
        said = ", ".join(
            f"{escape(short.get(row['first'], row['first']))} with {escape(short.get(row['second'], row['second']))} "
            f"({row['share']:.0%} of the variance)"
            for _, row in strong.head(3).iterrows()
        )
        body += f'<p class="note">Settings that interact: {said}.</p>'
    across = charts_lines.parallel(analysis)
    if across:
        caption = "<figcaption>All settings at once; blue: the best</figcaption>"
        body += f'<figure class="below">{caption}{across}</figure>'
    return section("What mattered", lead, body)


def _curves(analysis: Analysis, further: FurtherAnalysis) -> str:
    lead = "The best configurations; bands reach from the lowest to the highest seed and end at the frame."
    return section("Learning curves", lead, charts_lines.learning_curves(analysis, further))


def _hardware(analysis: Analysis, further: FurtherAnalysis) -> str:
    if not further.hardware:
        return ""
    lead = (
        "One run of each of the best configurations, with its data workers, at most every ten seconds. A processor or "
        "GPU that is not busy waits for something: data, or the other one."
    )
    return section("Hardware use over time", lead, charts_lines.hardware(analysis, further))


def _method(analysis: Analysis) -> str:
    comparison = analysis.comparison
    level = f"{comparison.level:.0%}"
    spread = (
        "The spread between seeds was estimated for all configurations together (Bartlett's test finds no difference), "
        "and differences were tested by Tukey's studentised range"
        if comparison.pooling == "shared"
        else "Each configuration's spread was estimated from its own seeds; differences were tested by paired t-tests "
        "where most seeds are shared and Welch's elsewhere, with Bonferroni's correction over all pairs"
    )
    noise = (
        f" A typical run differs from its configuration's mean by {number(comparison.noise)}."
        if comparison.tested
        else ""
    )
    tests = (
        f"{spread}, because the winner was picked after looking: the risk of any false claim is "
        f"{1 - comparison.level:.0%}. Intervals of differences are simultaneous and agree with the tests.{noise}"
    )
    if not comparison.tested:
        tests = "Nothing was tested: there are no two seeds that differ, and no stored predictions to compare."
    examples = (
        f"Predictions on {analysis.examples.number:,} examples are part of every interval and test: their squared "
        "standard error is added to that over seeds."
        if analysis.examples
        else f"The finite set of examples is not part of the intervals: {analysis.no_examples}."
    )
    counts = analysis.runs.info["status"].value_counts()
    ended = ", ".join(f"{count:,} {str(status).lower()}" for status, count in counts.items())
    items = [
        f"<b>Score.</b> {escape(analysis.metric)} at the best epoch of each run, whose checkpoint was kept. "
        "The choice uses it alone; test scores are shown but not used to choose.",
        f"<b>Intervals.</b> Student's t over seeds, {level}; that of the best is corrected for the choice by a "
        "bootstrap of the selection.",
        f"<b>Examples.</b> {escape(examples)}",
        f"<b>Tests.</b> {tests}",
        "<b>Importance.</b> Permutation on held-out folds (Breiman 2001), PED-ANOVA (Watanabe et al. 2023) and fANOVA "
        "(Hutter et al. 2014) of Optuna; intervals from folds and from a bootstrap. "
        f"Each describes these {len(analysis.runs):,} runs, not all runs there could be.",
        f"<b>Runs.</b> {escape(ended)}.",
    ]
    body = "<ul>" + "".join(f"<li>{each}</li>" for each in items) + "</ul>"
    return f'<section><h2>How this was worked out</h2><div class="note">{body}</div></section>'
