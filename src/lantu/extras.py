"""Optional packages: what needs one that is not installed says so before it does anything."""

from importlib.util import find_spec

from lantu.errors import UserError


def require(module: str, asked: str, extra: str) -> None:
    """Refuse what needs a package that is not installed.

    Args:
        module: the package, as it is imported.
        asked: what the user typed, such as `hydra/launcher=ray`.
        extra: the extra of Lantu that installs it.

    Raises:
        UserError: says what to install.
    """
    if find_spec(module) is None:
        raise UserError(f"`{asked}` needs the package {module}: install it with `pip install 'lantu[{extra}]'`.")
