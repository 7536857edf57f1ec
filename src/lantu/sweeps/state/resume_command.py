"""Look up the command of a sweep, to resume it by name."""

from pathlib import Path

from lantu.config.composing import compose
from lantu.errors import UserError
from lantu.sweeps.state.identity import unknown
from lantu.sweeps.state.request import slug
from lantu.sweeps.state.sweep_folder import SweepFolder, sweeps_of


def command_of(name: str) -> list[str]:
    """Return the overrides that a sweep was started with.

    Raises:
        UserError: no sweep has this name.
    """
    home = sweeps_of(Path(str(compose().cfg.paths.store)))
    folder = SweepFolder(home / slug(name))
    if not folder.exists():
        raise UserError(f"`sweep.resume={name}`: {unknown(home, name)}")
    return [str(each) for each in folder.content()["command"] if not str(each).startswith("sweep.resume=")]
