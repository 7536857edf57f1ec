"""Where a run goes on: the newest checkpoint that can be read."""

from pathlib import Path

from lantu.errors import UserError
from lantu.training.checkpoints import is_last, refuse_damaged

AUTO = "auto"


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint that training goes on from; None: from the start.

    Args:
        resume: None for a fresh run; auto for the newest good checkpoint in the run's own folder, if there is one; or a
            checkpoint's path, or that of a folder with checkpoints.
        run_dir: the run's own folder.

    Raises:
        UserError: the path leads nowhere, to nothing that can be read, or to a damaged file.
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
    if not path.is_file():
        raise UserError(
            f"`resume={resume}`: there is no such file or folder. It takes a checkpoint, a run's folder, or auto."
        )
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
