"""The errors that a person at the terminal can mend."""

import errno
from collections.abc import Iterator


class UserError(ValueError):
    """A sentence for the user: what was asked, what is wrong, what to type instead.

    The command line prints it without a traceback and exits with `status`.
    """

    status = 2


class Fault(UserError):
    """What stopped a run that had begun, in a sentence: what happened, where, what to type next."""

    status = 1


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that a disk or a person's share of it is full."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        message = str(cause)
        if "No space left on device" in message and not is_full_shared_memory(message):  # shutil's
            return True
        if "database or disk is full" in message:  # SQLite's
            return True
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_full_shared_memory(message: str) -> bool:
    """Whether torch reports that /dev/shm, through which its processes pass batches, is full."""
    return "</torch_" in message


def disk_complaint(error: BaseException) -> str | None:
    """A sentence on a full disk, or a file that may not be read, written or named so; None: about something else."""
    if is_full_disk(error):
        full = (cause for cause in _chain(error) if isinstance(cause, OSError) and is_full_disk(cause))
        path = next((cause.filename for cause in full if cause.filename), None)
        what = "nothing more could be written" if path is None else f"`{path}` could not be written"
        return f"the disk, or your share of it, is full, so {what}. Make room; then type the same command again."
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENAMETOOLONG, errno.ELOOP) and cause.filename:
            return f"`{cause.filename}` names no file: {cause.strerror}."
        if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and cause.filename:
            return (
                f"`{cause.filename}` cannot be read or written: {cause.strerror}. Name a folder that is yours, or "
                "change its permissions."
            )
    return None


def config_complaint(error: BaseException) -> str | None:
    """A sentence on an option that OmegaConf cannot resolve, such as `${nothing}`; None: it is about something else."""
    if type(error).__module__.partition(".")[0] != "omegaconf":
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.partition(":")[2].strip() for line in lines if line.startswith("full_key:")), "")
    return f"`{key}` cannot be resolved: {lines[0].rstrip('.')}. `--cfg job` shows the options as they are written."


def store_complaint(error: BaseException) -> str | None:
    """A sentence on what MLflow, its server or its database raised; None: it is about something else."""
    if type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3"):
        return None
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"MLflow's store cannot be used: {reason[:300]}."


def lacks(owner: object, method: str, purpose: str) -> UserError:
    """The error that a class does not have a method: says which class, which method and what it is needed for.

    Args:
        owner: the object or the class.
        method: its name, without parentheses.
        purpose: such as "to predict from a file".
    """
    cls = owner if isinstance(owner, type) else type(owner)
    return UserError(
        f"`{cls.__module__}.{cls.__qualname__}` has no method `{method}`, which is needed {purpose}. "
        "CONTRIBUTING.md shows how to write it."
    )
