"""Plain values and named interpolations are OmegaConf's own, also where it refuses them."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf, _impl
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

import lantu  # noqa: F401  # replaces both

CONFIG: dict[str, Any] = {
    "width": 8,
    "model": {
        "same": "${width}",
        "up": "${.same}",
        "outer": "${..width}",
        "text": "w=${width}",
        "deep": ["${model.same}", ["${width}", {"a": "${model.list.1}"}]],
        "list": [1, 2.5, None, "x", True],
        "none": None,
        "missing": "???",
        "node": "${other}",
        "env": "${oc.decode:'${width}'}",
        "escaped": r"\${width}",
    },
    "other": {"inner": "${model.list}", "empty": {}, "nothing": []},
}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call something with OmegaConf as it is."""

    def call(function: Any) -> Any:
        with monkeypatch.context() as context:
            context.setattr(BaseContainer, "_to_content", staticmethod(BaseContainer._to_content.replaces))
            context.setattr(Container, "resolve_parse_tree", Container.resolve_parse_tree.replaces)
            context.setattr(DictConfig, "_get_impl", DictConfig._get_impl.replaces)
            context.setattr(_impl, "select_value", _impl.select_value.replaces)
            return function()

    return call


@pytest.mark.parametrize("resolve", [False, True])
def test_plain_values_are_the_same(theirs: Any, resolve: bool) -> None:
    cfg = OmegaConf.create(CONFIG)
    expected = theirs(lambda: OmegaConf.to_container(cfg, resolve=resolve))
    assert repr(OmegaConf.to_container(cfg, resolve=resolve)) == repr(expected)
    assert repr(OmegaConf.to_container(cfg.model, resolve=resolve)) == repr(expected["model"])


@pytest.mark.parametrize(
    "bad",
    ["${nowhere}", "${width.deeper}", "${a}", "${model}", "${model.missing}", "${.....width}", "${model.nothing}"],
)
def test_errors_are_the_same(theirs: Any, bad: str) -> None:
    cfg = OmegaConf.create({**CONFIG, "a": bad, "model": {**CONFIG["model"], "bad": bad}})

    def said(function: Any) -> str:
        with pytest.raises(OmegaConfBaseException) as caught:
            function()
        return f"{type(caught.value).__name__}: {caught.value}"

    for ask in (lambda: cfg.model.bad, lambda: OmegaConf.to_container(cfg, resolve=True)):
        assert said(ask) == said(lambda ask=ask: theirs(ask))


NAMES = [
    "width",
    "model",
    "model.same",
    "model.list",
    "model.list.1",
    "model.none",
    "model.missing",
    "model.node.inner",
]
STRANGE = ["nowhere", "width.deeper", "model[list][0]", ".width", "model..width", "", "other.empty", "other.nothing"]


@pytest.mark.parametrize("struct", [False, True])
@pytest.mark.parametrize("name", [*NAMES, *STRANGE])
def test_values_are_found_and_missed_alike(theirs: Any, name: str, struct: bool) -> None:
    cfg = OmegaConf.create(CONFIG)
    OmegaConf.set_struct(cfg, struct)

    def tried(function: Any) -> str:
        try:
            return repr(function())
        except Exception as error:  # whichever it is, both raise it
            return f"{type(error).__name__}: {error}"

    for ask in (
        lambda: OmegaConf.select(cfg, name),
        lambda: OmegaConf.select(cfg, name, default=5, throw_on_missing=True),
        lambda: OmegaConf.select(cfg.model, name),
        lambda: cfg.get(name, 5),
        lambda: cfg[name],
        lambda: getattr(cfg.model, name),
    ):
        assert tried(ask) == tried(lambda ask=ask: theirs(ask))


def test_what_the_name_stands_for_may_change() -> None:
    cfg = OmegaConf.create(CONFIG)
    assert cfg.model.up == 8
    cfg.width = 9
    assert (cfg.model.up, cfg.model.text) == (9, "w=9")
