"""Leave a sweep's comparison among the artifacts of its parent run, where MLflow's own page shows it."""

import tempfile
from dataclasses import replace
from pathlib import Path

from lantu.compare.analysis import Analysis, Depth, Options, analyse
from lantu.compare.reading.run_frames import Reader, Selection
from lantu.compare.reading.stores import open_reader
from lantu.compare.recommendation import Decision
from lantu.errors import UserError

FOLDER = "comparison"


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
        decision, depth = write_report(analysis, reader, report)
        publish(analysis, depth, decision, report, reader=reader, tracking_uri=tracking_uri)
    return decision


def publish(
    analysis: Analysis, depth: Depth, decision: Decision, report: Path, *, reader: Reader, tracking_uri: str
) -> list[str]:
    """Log the report, the table and the pictures to the parent runs of the sweeps that were compared.

    Raises:
        UserError: no sweep was named, or one has no parent run.
    """
    from mlflow import MlflowClient

    from lantu.compare.comparison_table import write
    from lantu.compare.report.pictures import draw

    sweeps = analysis.selection.sweeps or tuple(
        analysis.runs.tags.get("lantu.sweep", analysis.runs.tags.index[:0]).unique()
    )
    parents = [reader.parent_of(str(sweep)) for sweep in sweeps]
    if not parents or None in parents:
        raise UserError(f"`log=true`: {analysis.selection.words()} has no parent run that could keep the report.")
    client = MlflowClient(tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        write(analysis.table, Path(folder) / "table.csv")
        (Path(folder) / "report.html").write_bytes(report.read_bytes())
        draw(analysis, depth, Path(folder))
        for parent in parents:
            assert parent is not None
            client.log_artifacts(parent, folder, FOLDER)
            client.set_tag(parent, "lantu.decision", decision.headline)
            client.set_tag(parent, "mlflow.note.content", _note(decision))
    return [str(parent) for parent in parents]


def _note(decision: Decision) -> str:
    """The decision as the run's description, which MLflow shows above everything else."""
    lines = "\n".join(f"- {each}" for each in [*decision.sentences, *decision.caution])
    return f"**{decision.headline}**\n\n{lines}\n\nReport: artifact `{FOLDER}/report.html`."
