"""The report: one HTML file that needs no network and no other file; without script only its explorer is missing."""

import re
from datetime import datetime
from html import escape
from pathlib import Path

from lantu.compare.analysis import Analysis
from lantu.compare.further_analysis import FurtherAnalysis, analyse_further
from lantu.compare.phrases import counted
from lantu.compare.reading.run_frames import Reader
from lantu.compare.recommendation import Decision, decide
from lantu.compare.report import charts, charts_cost, charts_lines
from lantu.compare.report.configurations_section import configurations_section
from lantu.compare.report.example_section import examples_section
from lantu.compare.report.explorer import explorer_section
from lantu.compare.report.listing import runs_section
from lantu.compare.report.method_section import method_section
from lantu.compare.report.outlook import business_section, forecast_section, section
from lantu.compare.report.slices_section import slices_section
from lantu.whole_files import write_whole


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
        configurations_section(analysis),
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
        method_section(analysis),
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
