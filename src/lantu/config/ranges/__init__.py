"""The values that each option of conf/ takes, one table per group of options.

They are checked before anything heavy is imported. A key is the dotted path of an option, in which `*` stands for any
part of a name. The rule of the path itself comes first, then that of the first pattern that matches. Options of a
user's own class have none. `null` is allowed where the rule says so.
"""

from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from lantu.config.ranges.cost_ranges import COST_RANGES
from lantu.config.ranges.data_ranges import DATA_RANGES
from lantu.config.ranges.model_ranges import MODEL_RANGES
from lantu.config.ranges.rule import Rule, is_number
from lantu.config.ranges.run_ranges import RUN_RANGES
from lantu.config.ranges.task_ranges import TASK_RANGES
from lantu.config.ranges.training_ranges import TRAINING_RANGES
from lantu.escaping import for_terminal
from lantu.suggestions import did_you_mean

RULES: dict[str, Rule] = RUN_RANGES | TRAINING_RANGES | DATA_RANGES | MODEL_RANGES | TASK_RANGES | COST_RANGES


@cache  # looked up for every option at each check
def rule_for(path: str) -> Rule | None:
    """Return the rule of an option by its dotted path; None: it has none."""
    if path in RULES:
        return RULES[path]
    depth = path.count(".")
    return next(
        (rule for pattern, rule in RULES.items() if pattern.count(".") == depth and fnmatchcase(path, pattern)), None
    )


def complaint(path: str, value: Any) -> str | None:
    """Return what is wrong with an option's value, as a sentence; None: nothing."""
    rule = rule_for(path)
    if rule is None or rule.accepts(value):
        return None
    near = did_you_mean(value, rule.description.replace(",", "").split()) if isinstance(value, str) and value else ""
    return f"`{path}={as_typed(value)}`: `{path}` takes {rule.description}.{near}"


def required_kind(default: Any, value: Any) -> str | None:
    """Return the kind of value, in words, that an option without a rule needs; None: `value` is of it already.

    The kind is that of the default. Whether null is possible is left to the signature.
    """
    if value is None or default is None or default == "???":
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float):
        return None if is_number(value) else "a finite number"
    if isinstance(default, str) and (isinstance(value, dict) or value is True or value is False):
        return "text"
    return "a list" if isinstance(default, list) and not isinstance(value, list) else None


def as_typed(value: Any) -> str:
    """Return a value as it is typed, on one line, of at most 80 characters."""
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    text = text or str(value)
    return for_terminal(text)[:80]
