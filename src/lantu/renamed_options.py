"""Options that had another name before: what is given under the old one is used, and a note names the new one."""

import re
from typing import TypeVar

from lantu.notices import warn_once
from lantu.slice_names import with_current_slice

T = TypeVar("T")

RENAMED = (
    (re.compile(r"data\.inputs(?==[\[']*(mels|waveform)\b)"), "data.features"),
    (re.compile(r"data\.inputs(?==)"), "data.covariates"),
    (re.compile(r"data\.input_transform(?==)"), "data.covariate_transform"),
)
"""The old name as it is typed, and the new one. `data.inputs` meant one thing for speech and another for series."""


def with_current_name(override: str) -> str:
    """An override such as `data.inputs=waveform` under the option's current name."""
    for old, new in RENAMED:
        found = old.match(override.lstrip("+"))
        if found:
            _note(found.group(), new)
            return old.sub(new, override, count=1)
    key, _, value = override.partition("=")
    if key.endswith((".monitor", ".objective")) and (current := with_current_slice(value)) != value:
        _note(value, current)
        return f"{key}={current}"
    return override


def value_of_renamed(value: T, old_value: T | None, *, old: str, new: str) -> T:
    """The value of an option of a constructor that may be given under its old name, as in a config written before."""
    if old_value is None:
        return value
    _note(old, new)
    return old_value


def _note(old: str, new: str) -> None:
    warn_once(f"`{old}` is now called `{new}`; the old name still works.")
