"""The `export` command: a run's network in another format, refused unless it answers the same."""

import json
import shutil
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lantu.checkpoints.digest import KEY, digest_of
from lantu.config.build import build
from lantu.errors import UserError
from lantu.inference.arguments import check_input
from lantu.inference.exported import FILES, PREPARATION, flatten
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.log_noise import without_noise
from lantu.serving.export.equality import Equality, compare
from lantu.serving.export.formats import check_format, write_network, write_preparation
from lantu.serving.export.graph import trace
from lantu.tracking.find import find_checkpoint
from lantu.whole_files import new_folder

BEYOND_ROUNDING = 1e-2
"""The difference from which a larger tolerance is no advice."""


def job(cfg: DictConfig) -> None:
    """Export, and print where to and how equal."""
    without_noise()
    try:
        check_format(cfg.format, cfg.precision)
        check_input(cfg.input)
        checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
        folder = Path(cfg.output).expanduser() if cfg.output else default_folder(checkpoint, cfg.format, cfg.precision)
        rebuilt = rebuild(checkpoint, data_options=cfg.data, cache=cfg.paths.cache)
        found = export(
            rebuilt, checkpoint, folder, form=cfg.format, precision=cfg.precision, tolerance=cfg.tolerance,
            examples=cfg.examples, path=Path(cfg.input).expanduser() if cfg.input else None, trainer=build(cfg.trainer),
        )  # fmt: skip
    except UserError as error:
        print(f"lantu export: {error}", file=sys.stderr)
        sys.exit(2)
    _show(shown(folder), cfg.format, found)


def shown(path: Path) -> Path:
    """As a person types it from here."""
    here = Path.cwd()
    return path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path


def default_folder(checkpoint: Path, form: str, precision: str) -> Path:
    """Beside the run's checkpoints."""
    name = form if precision == "float32" else f"{form}-{precision}"
    home = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return home / "export" / name


def export(
    rebuilt: Rebuilt,
    checkpoint: Path,
    folder: Path,
    *,
    form: str = "onnx",
    precision: str = "float32",
    tolerance: float = 1e-5,
    examples: int = 64,
    path: Path | None = None,
    trainer: Any = None,
) -> dict[str, Any]:
    """Write a network and its preparation into a folder, after comparing it with the trained one.

    Args:
        rebuilt: of the checkpoint.
        folder: to be made, or replaced where an earlier export lies.
        tolerance: the largest |difference| / (1 + |value|) of an output; does not apply to int8 and bf16, whose loss
            in quality is measured instead.
        examples: how many are compared.
        path: a file or folder with examples; None: the test split of the run's data, else validation, else training.
        trainer: measures the quality of int8 and bf16.

    Returns:
        What `equality.json` holds.

    Raises:
        UserError: the network cannot be exported, there are no examples, or the answers differ.
    """
    check_format(form, precision)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / PREPARATION).is_file())):
        raise UserError(f"`output={folder}` is there already and is no export: name another folder.")
    batches = _batches(rebuilt, path, examples)
    x = batches[0][0] if isinstance(batches[0], tuple | list) else batches[0]
    graph = None if form == "safetensors" else trace(rebuilt.task, x, rebuilt.data.spec)
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    with new_folder(folder.parent):
        draft.mkdir()
        try:
            write_network(rebuilt, graph, draft, form=form, precision=precision)
            write_preparation(rebuilt, graph, checkpoint, draft, form=form, precision=precision)
            exported = rebuild(draft / PREPARATION, trusted=True)
            dynamic = [0] if graph is None else graph.dynamic[graph.inputs[0]]
            if graph is not None and graph.padded:
                dynamic = [0, x.ndim - 1]
            equality = compare(rebuilt.task, exported.task, batches, tolerance=tolerance, dynamic=dynamic)
            found: dict[str, Any] = {
                "format": form,
                "precision": precision,
                "equal": equality.equal,
                **asdict(equality),
            }
            found[KEY] = digest_of(checkpoint)
            found |= {"dynamic": graph.dynamic, "padded": graph.padded} if graph else {"dynamic": None, "padded": None}
            found["bytes"] = sum(each.stat().st_size for each in draft.glob(f"{FILES[form]}*"))
            if precision == "float32":
                _refuse_different(equality, form)
            else:
                found["quality"] = _quality(rebuilt, draft, trainer)
            (draft / "equality.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return found


def _batches(rebuilt: Rebuilt, path: Path | None, examples: int) -> list[Any]:
    """Real batches with at least so many examples together, the first of at least two."""
    if (drawn := rebuilt.task.export_inputs(examples)) is not None:
        return drawn
    data = rebuilt.data
    data.batch_size = max(2, min(data.batch_size, examples))
    if path is not None:
        loader, _ = data.predict_rows(path)
    else:
        try:
            data.prepare_data()
            data.setup("test")
        except (UserError, OSError) as error:
            raise UserError(
                f"the run's data are not here, and an export is compared on real examples ({error}) "
                "Name some with `input=FILE`, or where the data lie with `+data.path=...`."
            ) from error
        loader = data.test_dataloader() or data.val_dataloader() or data.train_dataloader()
    found = list(islice(loader, -(-examples // data.batch_size)))
    if not found:
        raise UserError("there are no examples to compare on: name some with `input=FILE`.")
    first = found[0][0] if isinstance(found[0], tuple | list) else found[0]
    if len(next(iter(flatten(first).values()))) < 2:
        raise UserError("an export is compared on two examples at least: name a file with more, `input=FILE`.")
    return found


def _refuse_different(equality: Equality, form: str) -> None:
    if equality.equal:
        return
    worst = max(equality.largest.values(), default=0.0)
    hint = "`tolerance=...` allows more, if your use can bear it."
    if worst > BEYOND_ROUNDING:
        hint = "That is more than rounding: `format=torch` and `format=safetensors` answer the same more often."
    raise UserError(
        f"`format={form}` answers differently from the trained network: {', '.join(equality.different)} "
        f"(largest difference {worst:.2g}, allowed {equality.tolerance:g}). Nothing was written. "
        f"{hint}"
    )


def _quality(rebuilt: Rebuilt, folder: Path, trainer: Any) -> dict[str, dict[str, float]]:
    """The test metrics of the trained and of the smaller network."""
    from lantu.inference.evaluate import evaluate

    smaller = rebuild(folder / PREPARATION)
    smaller.data.splits, smaller.data.learned = rebuilt.data.splits, rebuilt.data.learned
    split = "test" if "test" in rebuilt.data.splits else "val"
    before, after = evaluate(rebuilt, trainer, split=split), evaluate(smaller, trainer, split=split)
    return {name: {"trained": value, "exported": after[name]} for name, value in before.items() if name in after}


def _show(folder: Path, form: str, found: dict[str, Any]) -> None:
    print(f"{folder / FILES[form]}  {found['bytes'] / 1e6:,.2f} MB")
    worst = max(found["largest"].values(), default=0.0)
    message = (
        f"compared on {found['examples']} examples in {len(found['batches'])} batches: largest difference {worst:.2g}"
    )
    print(message if found["precision"] == "float32" else f"{message} ({found['precision']})")
    for name, values in found.get("quality", {}).items():
        print(f"  {name:<20} {values['trained']:.5g} trained, {values['exported']:.5g} {found['precision']}")
    fixed = [name for name, places in (found["dynamic"] or {}).items() if 0 not in places]
    if fixed:
        print(f"  the batch size is fixed to that of the trace ({found['batches'][0][0]})")
    if form != "torch":  # reading such a file can run code
        print(f"lantu predict run={folder} input=FILE   answers from it")
