"""The end of the report: how its figures were worked out."""

from html import escape

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number


def method_section(analysis: Analysis) -> str:
    """Which scores, intervals and tests these are, and on how many runs they rest."""
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
