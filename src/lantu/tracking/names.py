"""Names that MLflow accepts, and back.

MLflow takes letters, digits, underscore, dash, period, space, colon and slash, refuses names that are not
normal paths (`a//b`, `/a`, `a/`, `..`), and stops at 250 characters. Any other character is written as
`_xHH_` with its hexadecimal code point, as spreadsheets do in XML (ECMA-376, ST_Xstring), and so is the
underscore that would otherwise start such a group: `accuracy@5` is `accuracy_x40_5`, and a literal `_x40_` is
`_x5F_x40_`.
"""

import hashlib
import re

LONGEST = 250
_REFUSED = re.compile(r"[^/\w.\- :]|_(?=x[0-9A-Fa-f]*(?:_|[^/\w.\- :]|/$))")
_ODD_SLASH = re.compile(r"^/|/$|(?<=/)/")
_DOTS = re.compile(r"^\.\.|(?<![^/])\.{1,2}(?![^/])")  # a segment of one or two dots; two at the start
_WRITTEN = re.compile(r"_x([0-9A-Fa-f]*)_")


def to_mlflow(name: str) -> str:
    """The name under which MLflow keeps `name`; `from_mlflow` gives `name` back.

    A result beyond 250 characters is cut and ends in a hash of the whole name. That is not reversible, so the
    uploader keeps the whole name in the tag `lantu.name.<hash>`.
    """
    safe = _safe(name)
    return safe if len(safe) <= LONGEST else f"{safe[: LONGEST - 17]}_{digest(name)}"


def from_mlflow(name: str) -> str:
    """The name that was logged, from the name that MLflow keeps."""
    return _WRITTEN.sub(lambda group: chr(int(group[1], 16)) if group[1] else "", name)


def is_cut(name: str) -> bool:
    """Whether MLflow keeps only the start of this name."""
    return len(name) > LONGEST // 8 and len(_safe(name)) > LONGEST


def digest(name: str) -> str:
    """Return sixteen hexadecimal digits that identify a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _safe(name: str) -> str:
    safe = _ODD_SLASH.sub(_write, _REFUSED.sub(_write, name))
    return _DOTS.sub(lambda dots: "_x2E_" * len(dots[0]), safe) or "_x_"


def _write(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):02X}_"
