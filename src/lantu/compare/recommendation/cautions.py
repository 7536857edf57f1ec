"""What the reader must not overlook: runs left out, scores that may not be comparable, few seeds."""

from lantu.compare.analysis import Analysis
from lantu.compare.comparability import differing_data, names_of
from lantu.compare.methods.stored_predictions import CONTRADICTIONS
from lantu.compare.phrases import counted
from lantu.compare.recommendation.repetitions import repetition


def cautions(analysis: Analysis) -> list[str]:
    """Return a sentence for each."""
    return [
        *_chosen_on_test(analysis),
        *_failed(analysis),
        *_unfinished_or_pruned(analysis),
        *_differing_quantities(analysis),
        *_unusable_examples(analysis),
        *_few_seeds(analysis),
    ]


def _chosen_on_test(analysis: Analysis) -> list[str]:
    """Whoever chooses by the test has no examples left that say how good the choice is."""
    named = [name for name in dict.fromkeys([analysis.metric, *dict(analysis.objectives)]) if name.startswith("test/")]
    if not named or len(analysis.comparison.scored) < 2:
        return []
    return [
        f"The test split chooses here ({', '.join(named)}), so the winner's score on it is too good, and no split is "
        f"left to measure that. Rank by {named[0].replace('test/', 'val/', 1)}, and read the test of the winner alone."
    ]


def _failed(analysis: Analysis) -> list[str]:
    table, count = analysis.comparison.table, int(analysis.failed.sum())
    sentences = []
    if count:
        failing = table[table["failed"] > 0]
        listed = ", ".join(
            f"{label} ({int(row['failed'])} of {int(row['failed'] + row['seeds'])})"
            for label, row in failing.head(3).iterrows()
        )
        if len(failing) > 3:
            listed += f" and {counted(len(failing) - 3, 'other configuration')}"
        sentences.append(
            f"{count} of {counted(len(analysis.runs), 'run')} failed (crashed, diverged, or without "
            f"{analysis.metric}): {listed}. Their values are not part of any mean."
        )
    lost = [str(label) for label in table.index[(table["seeds"] == 0) & (table["failed"] > 0)]]
    if lost:
        configurations = counted(len(lost), "configuration")
        sentences.append(f"Every {repetition(analysis)} failed in {configurations}: {'; '.join(lost[:3])}.")
    return sentences


def _unfinished_or_pruned(analysis: Analysis) -> list[str]:
    runs = analysis.runs
    status, pruned = runs.info["status"], runs.tags.get("lantu.pruned")
    running = int((status[runs.unfinished] != "KILLED").sum())
    stopped = int((status == "KILLED").sum())
    early = int(pruned.notna().sum()) if pruned is not None else 0
    sentences = []
    if running:
        sentences.append(f"{counted(running, 'run is', 'runs are')} still going and left out.")
    if stopped:
        sentences.append(f"{counted(stopped, 'run was', 'runs were')} stopped before the end and left out.")
    if early:
        pruned_early = counted(early, "run was pruned early and counts", "runs were pruned early and count")
        sentences.append(f"{pruned_early} with the best value until then.")
    return sentences


def _differing_quantities(analysis: Analysis) -> list[str]:
    """Scores that are not, or not quite, the same quantity."""
    sentences = []
    if analysis.replaced:
        sentences.append(
            f"{analysis.replaced} is a different quantity in these runs, since their losses or tokens differ; "
            f"{analysis.metric}, which they share, was compared instead."
        )
    if data := differing_data(analysis.runs):
        sentences.append(
            f"The runs were made on different data sets ({names_of(data)}); their scores may not be comparable."
        )
    if analysis.groups.folds:
        sentences.append(
            "Folds share most of their training rows: intervals and tests use the correction of Nadeau and Bengio "
            "(2003)."
        )
    return sentences


def _unusable_examples(analysis: Analysis) -> list[str]:
    """Why intervals are narrower than they should be: the finite set of examples is not part of them."""
    if damaged := analysis.damaged_examples:
        others = f" (and {counted(len(damaged) - 1, 'other')})" if len(damaged) > 1 else ""
        return [
            f"{damaged[0].rstrip('.')}{others}: the finite set of examples is not part of the intervals of its "
            "configuration. The run's artifacts in MLflow have a copy of the file."
        ]
    if analysis.no_examples in CONTRADICTIONS:
        return [f"The finite set of examples is not part of the intervals: {analysis.no_examples}."]
    return []


def _few_seeds(analysis: Analysis) -> list[str]:
    comparison, unit = analysis.comparison, repetition(analysis)
    if not comparison.tested:
        return []
    table = comparison.scored
    of_best, typical = int(table["seeds"].iloc[0]), int(table["seeds"].median())
    sentences = []
    if of_best == 2:
        sentences.append(f"The best configuration has only two {unit}s, which makes its interval wide.")
    if comparison.pooling == "own" and typical <= 3 and len(comparison.alike) > len(table) / 2 >= 2:
        sentences.append(
            f"With {counted(typical, unit)} and a separate spread for each configuration, few differences can be "
            "detected. statistics.pooling=shared detects more, if all configurations have the same spread."
        )
    if of_best == 1:
        sentences.append(f"The best configuration has only one {unit}: part of its lead may be luck.")
    if comparison.noise == 0:
        sentences.append(f"All {unit}s of a configuration give the same value; only the examples were tested.")
    return sentences
