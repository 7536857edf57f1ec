"""Where a run goes on: the newest checkpoint that can be read."""

import re
from pathlib import Path

from lantu.errors import UserError
from lantu.training.checkpoints import is_last, refuse_damaged

AUTO = "auto"


def place_to_resume(resume: str, *, store: Path, tracking_uri: str | None) -> str:
    """What `resume` means as a path: an MLflow run's id becomes its folder, or its last checkpoint brought here.

    Raises:
        UserError: it is neither a path, nor the id of a run with a checkpoint, nor auto.
    """
    if resume == AUTO or Path(resume).expanduser().exists():
        return resume
    if not re.fullmatch(r"[0-9a-f]{6,32}", resume):
        raise UserError(
            f"`resume={resume}`: there is no such file or folder. It takes a checkpoint, a run's folder, the id of an "
            f"MLflow run, or auto."
        )
    from lantu.inference.find import folder_or_last_checkpoint

    return str(folder_or_last_checkpoint(resume, store=store, tracking_uri=tracking_uri))


def is_run(resume: str) -> bool:
    """Whether `resume` is a run's folder, in which the run goes on, rather than a checkpoint to begin another from."""
    return resume != AUTO and (Path(resume).expanduser() / "journal" / "records.jsonl").is_file()


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint that training goes on from; None: from the start.

    Args:
        resume: None for a fresh run; auto for the newest good checkpoint in the run's own folder, if there is one; or a
            checkpoint's path, or that of a folder with checkpoints.
        run_dir: the run's own folder.

    Raises:
        UserError: there is nothing that can be read, or the file is damaged.
    """
    if resume is None:
        return None
    if resume == AUTO:
        return _newest_good(run_dir / "checkpoints")
    path = Path(resume).expanduser()
    if path.is_dir():
        found = _newest_good(path / "checkpoints") or _newest_good(path)
        if found is None:
            raise UserError(f"`resume={resume}`: there is no checkpoint in that folder that can be read.")
        return found
    try:
        refuse_damaged(path)
    except UserError as error:
        raise UserError(f"{error} `resume={path.parent}` goes on from the newest whole one there.") from error
    return path


def _newest_good(folder: Path) -> Path | None:
    """The newest checkpoint that can be read; a damaged one is named and passed over."""
    from lantu.inference.rebuild import load
    from lantu.tracking.saying import say

    # the best one may be newer, but was made in the middle of things: it is for when no other can be read
    for path in sorted(folder.glob("*.ckpt"), key=lambda each: (is_last(each), each.stat().st_mtime), reverse=True):
        try:
            load(path)
        except UserError:
            say(f"the checkpoint {path} is damaged; the one before it is used.")
        else:
            return path
    return None
