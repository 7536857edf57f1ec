"""The `monitor` command: judge new rows against those that a model was trained on."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.checkpoints.digest import KEY, digest_of
from lantu.config.build import build
from lantu.data.parquet import read_parquet
from lantu.errors import Fault, UserError
from lantu.inference.predict import predict
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.log_noise import without_noise
from lantu.monitoring import drift, performance
from lantu.monitoring.drift import Finding
from lantu.monitoring.drift_report import Verdict, page
from lantu.prediction_file import FOLDER, read_predictions
from lantu.tracking.find import find_checkpoint
from lantu.whole_files import whole_folder, write_whole

DRIFTED = 3
"""The exit status where something has changed; 1 and 2 are errors."""
REDACTED = "lantu.redacted"
"""The attribute of a sample of requests that lists columns whose values were not kept."""
FEWEST = 50
"""Rows of each file from which on a classifier is asked to tell them apart."""


def job(cfg: DictConfig) -> None:
    """Compare, print what has changed, write it, and end with a status that a cron job can use."""
    without_noise()
    try:
        if cfg.new is None:
            raise UserError("`monitor` needs new rows: add `new=FILE`.")
        for name in ("new", "reference"):
            if cfg[name] is not None and not Path(cfg[name]).expanduser().exists():
                raise UserError(f"`{name}={cfg[name]}`: there is no such file or folder.")
        checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
        new, reference = (None if cfg[name] is None else Path(cfg[name]).expanduser() for name in ("new", "reference"))
        assert new is not None
        run, options = checkpoint.parent.parent, {"alpha": cfg.alpha, "least": cfg.least}
        with TemporaryDirectory() as place:
            files = {
                name: one_file(path, Path(place) / name) for name, path in (("new", new), ("reference", reference))
            }
            verdict = judge(rebuild(checkpoint), build(cfg.trainer), run, **files, **options)
        verdict.new, verdict.reference = str(cfg.new), str(cfg.reference or verdict.reference)
        folder = Path(cfg.output or checkpoint.parent.parent / "monitoring" / time.strftime("%Y-%m-%d_%H-%M-%S"))
        _write(verdict, folder, weights=digest_of(checkpoint))
        if cfg.track:
            _track(verdict, folder, cfg)
    except UserError as error:
        print(f"lantu monitor: {error}", file=sys.stderr)
        sys.exit(error.status)
    show(verdict, folder)
    if verdict.drifted:
        sys.exit(DRIFTED)


def one_file(path: Path | None, place: Path) -> Any:
    """A file, or a folder such as one of pictures, as it is; but Parquet files of a folder as one in `place`.

    `lantu serve sample=...` writes such files.

    Raises:
        UserError: the files do not fit together.
    """
    if path is None or path.is_file():
        return path
    files = sorted(path.glob("*.parquet"))
    if not files:
        return path
    frames = [read_parquet(each) for each in files]
    apart = next((file for file, each in zip(files, frames, strict=True) if [*each] != [*frames[0]]), None)
    if apart is not None:
        raise UserError(f"{apart} has other columns than {files[0]}: name a folder with files of one kind.")
    hidden = sorted({name for each in frames for name in each.attrs.get(REDACTED, [])})
    whole = pd.concat([each.astype(object) for each in frames], ignore_index=True)
    whole.attrs[REDACTED] = hidden
    place.mkdir()
    whole.to_parquet(place / "rows.parquet", index=False)
    return place / "rows.parquet"


def redacted_in(path: Path | None) -> list[str]:
    """The columns of a sample of requests whose values were not kept."""
    if path is None or path.suffix != ".parquet" or path.is_dir():
        return []
    return list(read_parquet(path).attrs.get(REDACTED, []))


def judge(
    rebuilt: Rebuilt, trainer: Any, run: Path, *, new: Path, reference: Path | None, alpha: float, least: float
) -> Verdict:
    """Compare a file with the training rows, or with another file.

    Args:
        run: the run's folder, for the predictions that it kept.
        alpha: probability of a false alarm in the whole report.
        least: the effect from which on a difference counts, between 0 and 1.

    Raises:
        UserError: a file cannot be read or lacks a column, or nothing is known to compare with.
    """
    data = rebuilt.data
    after = predict(rebuilt, trainer, new)
    if not len(after):
        raise UserError(f"`new={new}`: the file holds no rows.")
    before = None if reference is None else predict(rebuilt, trainer, reference)
    answers = Answers(run, before, after, getattr(rebuilt.task, "class_names", None), least)
    verdict = Verdict(
        name=str(rebuilt.cfg.name), new=str(new), rows=len(after), reference=str(reference or "training rows")
    )
    described = data.describe_rows(after)
    base = data.reference() if before is None else data.describe_rows(before)
    if base is not None and described is not None:
        verdict.findings += drift.compare(base, described, least=least)
    elif described is None:
        verdict.notes.append("Columns were not compared: these data have none.")
    else:
        verdict.notes.append("Columns were not compared: this checkpoint keeps no reference; add `reference=FILE`.")
    if hidden := sorted({*redacted_in(new), *redacted_in(reference)}):
        verdict.findings = [each for each in verdict.findings if each.column not in hidden]
        verdict.notes.append(
            f"Not compared: {', '.join(hidden)}, left out of the sample of requests, and predictions, which need them."
        )
        drift.correct(verdict.findings, alpha=alpha)
        return verdict
    verdict.findings += _predictions(answers, verdict)
    if reference is not None and described is not None:
        features = [_features(data, path) for path in (reference, new)]
        if min(map(len, features)) >= FEWEST:
            verdict.findings.append(performance.classifier_test(features[0], features[1], least=least))
    verdict.findings += _performance(answers, verdict, target=str(rebuilt.cfg.data.get("target", "label")))
    if not verdict.findings:
        raise UserError(
            f"`new={new}`: there is nothing to compare these rows with. Add `reference=FILE` with rows like those that "
            "the model was trained on."
        )
    drift.correct(verdict.findings, alpha=alpha)
    fewest = min(len(each) for each in (before, after) if each is not None)
    if not verdict.drifted and (unseen := drift.unseen(fewest, len(verdict.findings), alpha=alpha)):
        verdict.notes.insert(0, unseen)
    return verdict


@dataclass(frozen=True)
class Answers:
    """The model's predictions for the new rows, and for those of its own splits."""

    run: Path
    before: pd.DataFrame | None
    """Rows of the reference file with their predictions."""
    after: pd.DataFrame
    classes: list[str] | None
    """None: a quantity is predicted."""
    least: float

    def kept(self, split: str) -> pd.DataFrame | None:
        """What the run answered for a split."""
        path = self.run / FOLDER / f"{split}.parquet"
        return read_predictions(path) if path.is_file() else None


def _predictions(answers: Answers, verdict: Verdict) -> list[Finding]:
    """How the predictions themselves have shifted, against those for the reference or the validation split."""
    kept = answers.kept("val") if answers.before is None else answers.before
    if "prediction" not in answers.after or kept is None or "prediction" not in kept:
        verdict.notes.append("Predictions were not compared: the run kept none, and no `reference=FILE` was given.")
        return []
    found = performance.predictions(kept, answers.after, classes=answers.classes)
    test = drift.numbers if answers.classes is None else drift.categories
    return [test("prediction", found["before"], found["after"], least=answers.least)]


def _performance(answers: Answers, verdict: Verdict, *, target: str) -> list[Finding]:
    """Whether the predictions have become worse, where the new rows have targets; an estimate where they have none."""
    after, classes = answers.after, answers.classes
    now = performance.scores(after, target, classes=classes)
    if now is None:
        kept = answers.kept("val")
        if classes is not None and kept is not None and "probability" in after and "probability" in kept:
            verdict.estimated = performance.estimated_accuracy(kept, after["probability"].dropna().to_numpy())
        verdict.notes.append(f"Performance was not compared: the new rows have no known `{target}`.")
        return []
    verdict.measured = abs(float(now.mean()))
    before, column = answers.before, target
    if before is None or target not in before:
        before, column = answers.kept("test"), "target"
    then = None if before is None else performance.scores(before, column, classes=classes)
    if then is None or min(len(now), len(then)) < 2:
        verdict.notes.append("Performance was not compared: the run's folder does not keep that of the test split.")
        return []
    name = "accuracy" if classes is not None else "error"
    return [performance.compare(then, now, least=answers.least / 2, name=name)]


def _features(data: Any, path: Path) -> np.ndarray:
    loader, _ = data.predict_rows(path)
    return np.concatenate([batch.flatten(1).numpy() for batch in loader])


def _write(verdict: Verdict, folder: Path, *, weights: str | None = None) -> None:
    try:
        content = {KEY: weights, **verdict.to_dict()}
        with whole_folder(folder) as place:
            write_whole(place / "monitoring.json", json.dumps(content, indent=1))
            write_whole(place / "monitoring.html", page(verdict))
    except OSError as error:
        raise UserError(f"`output={folder}` cannot be written: {error.strerror}.") from error


def _track(verdict: Verdict, folder: Path, cfg: DictConfig) -> None:
    """Keep the figures as a run of an MLflow experiment of their own, so that it shows them over time."""
    from lantu.compare.reading.run_frames import MONITORED
    from lantu.tracking import RunRecorder

    place = (
        Path(cfg.paths.store) / "runs" / "monitoring" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{time.time_ns() % 10**6}"
    )
    logger = RunRecorder(
        run_dir=place, experiment=f"monitoring {verdict.name}"[:250], run_name=Path(verdict.new).name,
        tracking_uri=cfg.paths.tracking_uri, store=cfg.paths.store, ship=cfg.ship,
    )  # fmt: skip
    logger.log_metrics(verdict.metrics(), step=0)
    logger.log_tags({MONITORED: str(cfg.run), "lantu.drifted": ", ".join(verdict.drifted)[:500]})
    kept = [logger.log_artifact(folder / name) for name in ("monitoring.html", "monitoring.json")]
    logger.close("FINISHED")
    if not all(kept):
        raise Fault(f"the report is in {folder}, and not in MLflow: make room, or type `track=false`.")


def show(verdict: Verdict, folder: Path) -> None:
    """Print what has changed."""
    console = Console()
    table = Table(box=None, padding=(0, 2))
    for name in ("column", "test", "effect", "p (Holm)", "PSI", ""):
        table.add_column(name, justify="right" if name in ("effect", "p (Holm)", "PSI") else "left", overflow="fold")
    for each in verdict.sorted():
        if each.drifted or (each.note and each.test != "missing"):
            psi = "" if each.psi is None else f"{each.psi:.2f}"
            cells = (escape(each.column), each.test, f"{each.effect:.3f}", f"{each.corrected:.2g}", psi)
            table.add_row(*cells, escape(each.note), style="yellow" if each.drifted else "")
    if table.row_count:
        console.print(table)
    for line in verdict.lines():
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"written to  {escape(str(folder / 'monitoring.html'))}", highlight=False, soft_wrap=True)
