"""The `card` command: a run's model card and its technical documentation."""

import sys
from math import isfinite
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from lantu.errors import Fault, UserError
from lantu.inference.rebuild import rebuild
from lantu.log_noise import without_noise
from lantu.responsible.card import document, sections
from lantu.responsible.card.facts import Facts, facts
from lantu.tracking.find import find_checkpoint
from lantu.tracking.journal import last
from lantu.tracking.run_folder import RunFolder
from lantu.whole_files import whole_folder, write_whole


def job(cfg: DictConfig) -> None:
    """Write the card, and say how much a person must still write."""
    without_noise()
    try:
        checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
        known = facts(rebuild(checkpoint), checkpoint)
        folder = Path(cfg.output or checkpoint.parent.parent / "card")
        files = write(known, folder)
    except UserError as error:
        print(f"lantu card: {error}", file=sys.stderr)
        sys.exit(error.status)
    console = Console()
    missing = sum(kind == "todo" for each in sections.model_card(known) for kind, _ in each.blocks)
    for file in files:
        console.print(f"written to  {escape(str(file))}", highlight=False, soft_wrap=True)
    try:
        tracked = known.folder is not None and cfg.track and keep(known.folder, folder, ship=cfg.ship)
    except UserError as error:
        print(f"lantu card: {error}", file=sys.stderr)
        sys.exit(error.status)
    console.print(f"in MLflow   {'card/ of the run' if tracked else 'not'}", highlight=False)
    console.print(f"{missing} places of the card are marked `{document.TODO}`", highlight=False)


def write(known: Facts, folder: Path) -> list[Path]:
    """Write card.md, card.html, annex_iv.md and annex_iv.html; returns the files."""
    from huggingface_hub import ModelCard

    title = f"Model card of {known.name}"
    annex, law = "Technical documentation, Annex IV of the EU AI Act", sections.annex_iv(known)
    card = sections.model_card(known)
    contents = {
        "card.md": str(ModelCard(f"---\n{_metadata(known)}\n---\n\n{document.markdown(title, card)}")),
        "card.html": document.html(title, card),
        "annex_iv.md": document.markdown(f"{annex}: {known.name}", law),
        "annex_iv.html": document.html(f"{annex}: {known.name}", law),
    }
    try:
        with whole_folder(folder) as place:
            for name, content in contents.items():
                write_whole(place / name, content)
    except OSError as error:
        raise UserError(f"`output={folder}` cannot be written: {error.strerror}.") from error
    return [folder / name for name in contents]


def keep(run: Path, folder: Path, *, ship: bool) -> bool:
    """Hand the card to the run's record in MLflow; False where the run has no record, or is still being written.

    Raises:
        Fault: the record cannot be written, as on a full disk.
    """
    from lantu.tracking import RunRecorder

    record = RunFolder(run)
    head = record.head()
    if head is None or record.state() == "running":
        return False
    end = last(record.records)
    logger = RunRecorder(
        run_dir=run, experiment=head["experiment"], run_name=head["name"], tracking_uri=head["tracking_uri"], ship=ship
    )
    kept = logger.log_artifact(folder, "card" if folder.name != "card" else None)
    logger.close(str((end or {}).get("status", "FINISHED")))
    if not kept:
        raise Fault(f"the card is in {folder}, and not in MLflow. Make room; then type the same command again.")
    return True


def _metadata(known: Facts) -> str:
    """The YAML that Hugging Face reads."""
    from huggingface_hub import EvalResult, ModelCardData

    choices = known.cfg.get("choices") or {}
    task = str(choices.get("task") or "other").replace("_", "-")
    results = [
        EvalResult(
            task_type=task, dataset_type=str(choices.get("data")), dataset_name=known.source,
            metric_type=name.partition("/")[2], metric_value=float(value),
        )
        for name, value in sorted(known.metrics.items())
        if name.startswith("test/") and name.count("/") == 1 and isfinite(value)
    ]  # fmt: skip
    of_a_hub = "/" in known.source and not known.source.startswith(("/", ".", "~"))
    data = ModelCardData(
        library_name="lantu",
        tags=["lantu", str(choices.get("model"))],
        datasets=[known.source] if of_a_hub else None,
        model_name=known.name,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()
