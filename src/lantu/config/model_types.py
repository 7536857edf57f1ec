"""The kinds of model that transformers can make from a config, read from its files without importing it."""

import ast
from functools import cache
from typing import Any

from omegaconf import DictConfig

from lantu.config.explain import leaves
from lantu.config.signatures import module_file, parsed_file
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

_FILES = ("transformers.models.auto.auto_mappings", "transformers.models.auto.configuration_auto")
_LEAST = 50
"""Fewer kinds than this were not read rightly: the files have another form in some version."""


def check_model_types(cfg: DictConfig) -> None:
    """Raise a `UserError` for a `model_type` in the model's config that transformers does not have."""
    node: Any = cfg.get("model")
    for path, kind in leaves(node, "model").items():
        if not (path.endswith(".model_type") and ".config." in path) or not isinstance(kind, str) or "${" in kind:
            continue
        known = model_types()
        if known and kind not in known:
            raise UserError(
                f"`{path}={kind}`: transformers has no such model.{did_you_mean(kind, known)} It has {len(known)} of "
                "them, such as bert, distilbert and modernbert."
            )


@cache
def model_types() -> frozenset[str]:
    """The names; empty where they cannot be read."""
    found: set[str] = set()
    for module in _FILES:
        file = module_file(module)
        for node in ast.walk(parsed_file(file)) if file is not None else ():
            pairs: list[tuple[Any, Any]] = []
            if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                pairs = [(node.elts[0], node.elts[1])]
            elif isinstance(node, ast.Dict):
                pairs = list(zip(node.keys, node.values, strict=True))
            for key, value in pairs:
                texts = [each.value for each in (key, value) if isinstance(each, ast.Constant)]
                if len(texts) == 2 and str(texts[1]).endswith("Config"):
                    found.add(str(texts[0]))
    return frozenset(found) if len(found) >= _LEAST else frozenset()
