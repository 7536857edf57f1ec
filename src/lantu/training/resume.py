"""Find the checkpoint that a run resumes from: the newest one that can be read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lantu.checkpoints.checkpoint_file import is_last
from lantu.checkpoints.embedded_config import Recipe
from lantu.errors import UserError
from lantu.tracking.find import AUTO


@dataclass(frozen=True)
class Start:
    """Where training resumes."""

    checkpoint: Path
    step: int


def is_run(resume: str) -> bool:
    """Whether `resume` names a run's folder, to continue that run, and not a checkpoint, to start another run from."""
    return resume != AUTO and (Path(resume).expanduser() / "journal" / "records.jsonl").is_file()


def checkpoint_to_resume(resume: str | None, run_dir: Path, task: nn.Module) -> Start | None:
    """The checkpoint that training resumes from; None: it starts anew.

    Args:
        resume: None for a fresh run; auto for the newest good checkpoint in the run's own folder, if there is one; or a
            checkpoint's path, or that of a folder with checkpoints.
        run_dir: the run's own folder.
        task: the checkpoint must fit its network.

    Raises:
        UserError: no checkpoint can be read, the file is damaged, or it is of another network.
    """
    found = find_checkpoint(resume, run_dir)
    if found is None:
        return None
    path, checkpoint = found
    _refuse_another_network(path, checkpoint, task)
    return Start(path, int(checkpoint.get("global_step", 0)))


def find_checkpoint(resume: str | None, run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint that `resume` names, with its content; None: it starts anew.

    Raises:
        UserError: no checkpoint can be read, or the file is damaged.
    """
    from lantu.checkpoints.load import load

    if resume is None:
        return None
    path = Path(resume).expanduser()
    if resume == AUTO:
        return _newest_good(run_dir / "checkpoints")
    if path.is_dir():
        found = _newest_good(path / "checkpoints", path)
        if found is None:
            raise UserError(f"`resume={resume}`: there is no checkpoint in that folder that can be read.")
        return found
    try:
        return path, load(path)
    except UserError as error:
        raise UserError(f"{error} `resume={path.parent}` goes on from the newest whole one there.") from error


def _newest_good(*folders: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, in the first folder with one; a damaged one is skipped with a note."""
    from lantu.checkpoints.load import load
    from lantu.notices import warn_once

    for folder in folders:
        # the best checkpoint may be newer, but was saved in the middle of an epoch, so it comes last
        for path in sorted(folder.glob("*.ckpt"), key=lambda each: (is_last(each), each.stat().st_mtime), reverse=True):
            try:
                return path, load(path)
            except UserError:
                warn_once(f"the checkpoint {path} is damaged; the one before it is used.")
    return None


def _refuse_another_network(path: Path, checkpoint: dict[str, Any], task: nn.Module) -> None:
    """Refuse weights of other shapes before the run's record is reopened; Lightning would raise a traceback later."""
    theirs, ours = checkpoint.get("state_dict", {}), task.state_dict()
    differing = next((name for name in {**ours, **theirs} if _shape(theirs, name) != _shape(ours, name)), None)
    if differing is None:
        return
    config = Recipe.read(checkpoint) or {}
    choices = config.get("choices", {})
    trained = " ".join(f"{group}={choices[group]}" for group in ("data", "model", "task") if choices.get(group))
    of = f", trained with `{trained}`" if trained else ""
    raise UserError(
        f"{path} is of another network than this command's{of}: its `{differing}` is {_shape(theirs, differing)}, and "
        f"here that is {_shape(ours, differing)}. Repeat the command of that run, with `resume=...` added."
    )


def _shape(weights: dict[str, Any], name: str) -> str:
    if name not in weights:
        return "not there"
    value = weights[name]  # a module's extra state may be anything
    return (" by ".join(map(str, value.shape)) or "a number") if isinstance(value, Tensor) else "no weights"
