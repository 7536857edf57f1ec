"""Check that the data provide every `spec` field that the model and the task refer to."""

import re
from typing import Any

from lantu.config.composing import Composition
from lantu.config.explain import leaves
from lantu.config.spec_fields import data_fields, model_nodes, tasks_of_models
from lantu.errors import UserError

FIELD = re.compile(r"\$\{spec\.(\w+)[^}]*\}")
"""A reference to a spec field."""


def check_spec_fields(composition: Composition) -> None:
    cfg = composition.cfg
    if "spec" not in cfg:
        return
    known = set(cfg.spec)
    for part in ("model", "task"):
        missing = fields_asked(cfg.get(part)) - known
        if missing:
            _refuse(composition, part, missing)


def fields_asked(node: Any) -> set[str]:
    """The names of the spec fields (`${spec.NAME}`) that a part of a config refers to."""
    return {name for value in leaves(node).values() if isinstance(value, str) for name in FIELD.findall(value)}


def _refuse(composition: Composition, part: str, missing: set[str]) -> None:
    asks, data = composition.choices.get(part), composition.choices.get("data")
    lacking = " and ".join(f"`{name}`" for name in sorted(missing))
    default = part == "model" and not any(each.startswith(("model=", "experiment=")) for each in composition.overrides)
    if default:  # who brings data and names no model is helped by the models that fit
        fitting = models_for(set(composition.cfg.spec))
        instead = f"Add a model that fits these data, such as {' or '.join(f'`model={name}`' for name in fitting)}."
    else:
        having = data_with(missing)
        what = "it" if len(missing) == 1 else "them"
        instead = f"Data sets that provide {what}: {', '.join(having)}." if having else f"No data set provides {what}."
    raise UserError(
        f"{'the default ' if default else ''}`{part}={asks}` needs {lacking}, which `data={data}` does not provide. "
        f"{instead}"
    )


def models_for(fields: set[str]) -> list[str]:
    """The models that need no other spec fields than these."""
    return [name for name, asked in fields_of_models().items() if asked <= fields]


def fields_of_models() -> dict[str, set[str]]:
    """The spec fields that each model needs, and the task that its file chooses."""
    tasks = tasks_of_models()
    return {name: fields_asked(node) | fields_asked(tasks.get(name, {})) for name, node in model_nodes().items()}


def data_with(fields: set[str]) -> list[str]:
    """The data sets that provide all of some spec fields."""
    return [name for name, known in data_fields().items() if fields <= known]
