"""Objects are built as Hydra builds them."""

from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
from omegaconf import OmegaConf

from lantu.config import instantiate as ours
from lantu.config.build import build

HERE = __name__


def told(*args: Any, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what it was called with."""
    return args, options


def broken(**options: Any) -> None:
    raise ValueError("no")


class Thing:
    """Something that is already built."""


CONFIG = {
    "width": 3,
    "path": "${width}/x",
    "node": {
        "_target_": f"{HERE}.told",
        "number": "${width}",
        "text": "${path}",
        "list": [1, "${width}", {"_target_": f"{HERE}.told", "inner": "${...number}"}],
        "plain": {"a": {"_target_": f"{HERE}.told", "b": None}, "c": [True, 2.5]},
        "later": {"_target_": f"{HERE}.told", "_partial_": True, "x": 1, "unknown": "???"},
        "as_written": {"_target_": f"{HERE}.told", "_recursive_": False, "x": {"_target_": "nowhere.at.all"}},
        "args": {"_target_": f"{HERE}.told", "_args_": [1, "${width}"], "x": 2},
    },
}


def opened(value: Any) -> Any:
    """A partial as what it holds, and what is inside of others likewise."""
    if isinstance(value, partial):
        return "partial", value.func, opened(value.args), opened(value.keywords)
    if isinstance(value, dict):
        return {name: opened(each) for name, each in value.items()}
    return type(value)(map(opened, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("given", "is_ours"), [({}, False), ({"number": 9}, False), ({"later": 1}, False), ({"more": {"a": [2]}}, True)]
)
def test_everything_is_built_as_hydra_does(given: dict[str, Any], is_ours: bool) -> None:
    """What overrides a value, and a mandatory one that a partial leaves out, are Hydra's own."""
    cfg = OmegaConf.create(CONFIG)
    if is_ours:
        cfg.node.later.unknown = None
    thing = Thing()
    given = {**given, "thing": thing, "things": [thing, 1], "path": Path("x")}
    before = OmegaConf.to_yaml(cfg)
    built = build(cfg.node, **given)
    assert repr(opened(built)) == repr(opened(hydra.utils.instantiate(cfg.node, _convert_="all", **given)))
    assert built[1]["thing"] is thing
    assert OmegaConf.to_yaml(cfg) == before
    assert (ours._plain(cfg.node, given) is not None) == is_ours


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": f"{HERE}.broken", "x": 1},
        {"_target_": f"{HERE}.told", "inner": [{"_target_": f"{HERE}.broken"}]},
        {"_target_": f"{HERE}.nothing"},
        {"_target_": "os.system", "command": "true"},
        {"_target_": f"{HERE}.told", "x": {"_target_": "builtins.eval", "_args_": ["1"]}},
        {"_target_": f"{HERE}.told", "x": "???"},
        {"_target_": f"{HERE}.told", "x": "${nowhere}"},
        {"_target_": f"{HERE}.told", "_partial_": "yes"},
        {"_target_": f"{HERE}.told", "x": {"_target_": 3}},
    ],
)
def test_what_hydra_refuses_is_refused_in_its_words(node: dict[str, Any]) -> None:
    cfg = OmegaConf.create({"group": {"name": node}})
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        hydra.utils.instantiate(cfg.group.name, _convert_="all")
    with pytest.raises(type(theirs.value)) as caught:
        ours.instantiate(cfg.group.name, {})
    assert str(caught.value).replace("[0]", "0") == str(theirs.value)  # it drops the brackets of an index
    assert repr(caught.value.__cause__) == repr(theirs.value.__cause__)
