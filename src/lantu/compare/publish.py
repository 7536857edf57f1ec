"""Leave a sweep's comparison among the artifacts of its parent run, where MLflow's own page shows it."""

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lantu.compare.analysis import Analysis, Options, analyse
from lantu.compare.comparison_table import number
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.reading.run_frames import Reader, Selection
from lantu.compare.reading.stores import open_reader
from lantu.compare.recommendation import Decision
from lantu.errors import UserError
from lantu.tracking.mlflow_client import open_mlflow

FOLDER = "comparison"
MOST_MARKED = 1000
"""Trials that get columns of their own in MLflow: each takes some milliseconds."""


def compare_sweep(sweep: str, *, tracking_uri: str, options: Options | None = None) -> Decision:
    """Compare a sweep's trials and leave the report with its parent run; what a sweep calls when it ends.

    Raises:
        UserError: there is no such sweep, or it has no parent run.
    """
    from lantu.compare.report.page import write_report

    reader = open_reader(tracking_uri)
    analysis = analyse(reader, Selection(sweeps=(sweep,)), replace(options or Options(), tracking_uri=tracking_uri))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        decision, further = write_report(analysis, reader, report)
        publish(analysis, further, decision, report, reader=reader, tracking_uri=tracking_uri)
    return decision


def publish(
    analysis: Analysis, further: FurtherAnalysis, decision: Decision, report: Path, *, reader: Reader, tracking_uri: str
) -> list[str]:
    """Log the report, the table and the pictures to the parent runs of the sweeps that were compared.

    Raises:
        UserError: no sweep was named, or one has no parent run.
    """
    from lantu.compare.comparison_table import write
    from lantu.compare.report.pictures import draw

    sweeps = analysis.selection.sweeps or tuple(
        analysis.runs.tags.get("lantu.sweep", analysis.runs.tags.index[:0]).unique()
    )
    parents = [reader.parent_of(str(sweep)) for sweep in sweeps]
    if not parents or None in parents:
        raise UserError(f"`log=true`: {analysis.selection.words()} has no parent run that could keep the report.")
    client = open_mlflow(tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        write(analysis.table, Path(folder) / "table.csv")
        (Path(folder) / "report.html").write_bytes(report.read_bytes())
        draw(analysis, further, Path(folder))
        for parent in parents:
            assert parent is not None
            client.log_artifacts(parent, folder, FOLDER)
            client.set_tag(parent, "lantu.decision", decision.headline)
            client.set_tag(parent, "mlflow.note.content", _note(decision))
    mark_children(client, analysis)
    return [str(parent) for parent in parents]


def mark_children(client: Any, analysis: Analysis) -> None:
    """Give each trial the columns that people sort by in MLflow, and a description in a sentence.

    `score` is its best value of the metric that decides, `rank` its configuration's place, `difference` that
    configuration's mean less the winner's. Of large sweeps the best trials alone get them.
    """
    from mlflow.entities import Metric, RunTag

    table, now = analysis.comparison.table, int(time.time() * 1000)
    ranks = {str(label): place for place, label in enumerate(analysis.comparison.scored.index, start=1)}
    best_first = analysis.runs.score.dropna().sort_values(ascending=analysis.mode == "min").head(MOST_MARKED)
    notes = analysis.runs.tags.get("lantu.note")
    for run, score in best_first.items():
        label = str(analysis.groups.of_run[run])
        if label not in ranks:
            continue
        difference = float(table.loc[label, "difference"])
        values = {"score": float(score), "rank": float(ranks[label]), "difference": difference}
        place = "the best" if ranks[label] == 1 else f"number {ranks[label]}"
        text = (
            f"{analysis.metric} {number(float(score))} at the best epoch; {label} is {place} of {len(ranks)} "
            "configurations"
        )
        if ranks[label] > 1:
            text += f", {number(abs(difference))} from the best in the mean"
        note = None if notes is None else notes.get(run)
        description = f"{text}." + (f"\n\nNote: {note}" if isinstance(note, str) else "")
        found = [Metric(name, value, now, 0) for name, value in values.items() if math.isfinite(value)]
        client.log_batch(str(run), metrics=found, tags=[RunTag("mlflow.note.content", description)])


def _note(decision: Decision) -> str:
    """The decision as the run's description, which MLflow shows above everything else."""
    lines = "\n".join(f"- {each}" for each in [*decision.sentences, *decision.caution])
    return f"**{decision.headline}**\n\n{lines}\n\nReport: artifact `{FOLDER}/report.html`."
