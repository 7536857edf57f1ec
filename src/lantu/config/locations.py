"""Where config files are looked for: the user's own folders first, then what Lantu ships."""

import os
from pathlib import Path

from lantu.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent


def shipped_conf() -> Path:
    """Lantu's own config folder: inside an installed wheel, or at the top of a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent.parent / "conf"


def user_confs() -> list[Path]:
    """The user's config folders, first one first: `LANTU_CONF` (separated as PATH is), then `./conf`."""
    named = [Path(part) for part in os.environ.get("LANTU_CONF", "").split(os.pathsep) if part]
    folders = [folder.expanduser().resolve() for folder in [*named, Path("conf")]]
    return [folder for folder in folders if folder.is_dir() and folder != shipped_conf()]


def add_user_conf(folder: str) -> None:
    """Search a folder before all others, here and in the processes that this one starts."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise UserError(f"`--config-dir {folder}`: there is no such folder.")
    others = os.environ.get("LANTU_CONF", "")
    os.environ["LANTU_CONF"] = os.pathsep.join([str(path), *([others] if others else [])])
