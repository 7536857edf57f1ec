"""The `explain` command: why a run's model answers as it does for the rows of a file."""

import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.errors import UserError
from lantu.inference.arguments import check_input
from lantu.inference.rebuild import rebuild
from lantu.log_noise import without_noise
from lantu.responsible.explain import explanation_report
from lantu.responsible.explain.interpretable_inputs import explained, require_libraries
from lantu.tracking.find import find_checkpoint

FOLDER = "explanations"


def job(cfg: DictConfig) -> None:
    """Explain, print the figures, and write the page."""
    without_noise()
    try:
        require_libraries("lantu explain")
        if cfg.input is None:
            raise UserError("`explain` needs something to explain: add `input=FILE` (a table, pictures or texts).")
        check_input(cfg.input)
        checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
        rebuilt = rebuild(checkpoint)
        x = _inputs(rebuilt.data, Path(cfg.input), most=cfg.examples)
        examples = explained(rebuilt.task, rebuilt.data, x, layer=cfg.layer)
        methods: Any = None if cfg.methods is None else OmegaConf.to_container(cfg.methods)
        found = explanation_report.explain(examples, methods, sanity=cfg.sanity)
        folder = Path(cfg.output or checkpoint.parent.parent / FOLDER)
        explanation_report.write(folder, examples, found, title=f"Why {rebuilt.cfg.name} answers so")
    except UserError as error:
        print(f"lantu explain: {error}", file=sys.stderr)
        sys.exit(error.status)
    _show(found, folder)


def _inputs(data: Any, path: Path, *, most: int) -> torch.Tensor:
    """The first inputs of a file (N, ...), as the network takes them."""
    loader, _ = data.predict_rows(path)
    kept: list[Any] = []
    for batch in loader:
        if not isinstance(batch, torch.Tensor):
            raise UserError(f"`explain` does not know the inputs of {type(data).__name__}.")
        kept.extend(batch)
        if len(kept) >= most:
            break
    kept = kept[:most]
    if len(kept) < 2:
        raise UserError(f"`input={path}`: at least two examples are needed, to tell how sure a mean is.")
    if kept[0].ndim == 1 and not kept[0].is_floating_point():
        return torch.nn.utils.rnn.pad_sequence(kept, batch_first=True, padding_value=data.spec.get("pad_id", 0))
    return torch.stack(kept)


def _show(found: list[explanation_report.Explanation], folder: Path) -> None:
    console = Console()
    table = Table(box=None, padding=(0, 1))
    for name in ("method", "gain", "95% interval", "deletion", "insertion", "random net"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for each in found:
        low, high = each.faithful.interval
        random = "not known" if each.faithful.randomised is None else f"{each.faithful.randomised:.2f}"
        table.add_row(
            each.method, f"{each.faithful.gain.mean():.3f}", f"{low:.3f} to {high:.3f}",
            f"{each.faithful.deletion.mean():.3f}", f"{each.faithful.insertion.mean():.3f}", random,
        )  # fmt: skip
    console.print(table)
    console.print(
        "gain: how much faster the prediction changes than in random order\n"
        "random net: rank correlation with the same method on random weights;\n"
        "            not known with few features, or with `sanity=false`",
        style="dim", highlight=False,
    )  # fmt: skip
    for each in found:
        for sentence in each.faithful.warnings:
            console.print(f"[yellow]{each.method} {escape(sentence)}.[/yellow]", highlight=False, soft_wrap=True)
    console.print(f"written to  {escape(str(folder / explanation_report.PAGE))}", highlight=False, soft_wrap=True)
