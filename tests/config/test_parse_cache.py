"""Config files and interpolations that were parsed once are used again, and nothing else changes."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import Container, DictConfig, OmegaConf

import lantu

OWN = "# Mine.\n_target_: lantu.models.MLP\nfeatures: ${{spec.features}}\noutputs: ${{spec.outputs}}\nhidden: [{}]\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config file of the user's, in the folder that the test stands in."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "conf" / "model" / "own.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(OWN.format(8))
    return file


def test_a_file_that_was_edited_is_read_again(own: Path) -> None:
    assert lantu.compose("model=own").cfg.model.hidden == [8]
    own.write_text(OWN.format(16))
    assert lantu.compose("model=own").cfg.model.hidden == [16]
    own.write_text(OWN.format(32))  # of the same size
    assert lantu.compose("model=own").cfg.model.hidden == [32]


def test_a_users_file_is_preferred_as_soon_as_it_is_there(own: Path) -> None:
    shipped = lantu.compose("model=mlp").cfg.model.hidden
    own.with_name("mlp.yaml").write_text(OWN.format(5))
    assert lantu.compose("model=mlp").cfg.model.hidden == [5]
    own.with_name("mlp.yaml").unlink()
    assert lantu.compose("model=mlp").cfg.model.hidden == shipped


def test_overrides_of_one_config_do_not_reach_the_next() -> None:
    command = ("model=mlp", "debug=overfit")  # a file of one group, and one that sets options of all groups
    before = OmegaConf.to_yaml(lantu.compose(*command).cfg)
    changed = lantu.compose(*command, "model.hidden=[1]", "seed=7", "trainer.max_epochs=3").cfg
    changed.paths.root = "elsewhere"
    changed.trainer.overfit_batches = 9
    assert OmegaConf.to_yaml(lantu.compose(*command).cfg) == before


def test_a_defaults_list_may_interpolate(own: Path) -> None:
    folder = own.parent.parent
    (folder / "preset").mkdir()
    (folder / "preset" / "like_data.yaml").write_text(
        "# @package _global_\n# Options in a file named after this one.\ndefaults:\n  - /extra: of_${preset}\n"
    )
    (folder / "extra").mkdir()
    (folder / "extra" / "of_like_data.yaml").write_text("# @package _global_\n# Longer.\ntrainer:\n  max_epochs: 77\n")
    assert lantu.compose("preset=like_data", "data=digits").cfg.trainer.max_epochs == 77


def test_a_file_in_two_packages_keeps_the_options_of_each_apart(own: Path) -> None:
    folder = own.parent.parent
    (folder / "preset").mkdir()
    (folder / "preset" / "twice.yaml").write_text(
        "# @package _global_\n# One file in two packages.\ndefaults:\n"
        "  - /model@tags.first: own\n  - /model@tags.second: own\n  - _self_\ntags:\n  first:\n    hidden: [99]\n"
    )
    cfg = lantu.compose("preset=twice", "model=own", "++tags.second.hidden=[3]").cfg
    assert (cfg.tags.first.hidden, cfg.tags.second.hidden, cfg.model.hidden) == ([99], [3], [8])


def test_a_class_of_a_config_that_pickle_does_not_find_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Local:  # like one of a plugin that Hydra has imported anew
        tries: int = 3

    monkeypatch.setattr(ConfigStore.instance(), "repo", copy.deepcopy(ConfigStore.instance().repo))
    ConfigStore.instance().store(group="local_classes", name="one", node=Local)
    for _ in range(2):
        assert lantu.compose("+local_classes@tags.of_class=one").cfg.tags.of_class.tries == 3


def test_every_node_knows_where_it_stands_after_composing() -> None:
    def look(node: Container) -> None:
        nodes = node._content.values() if isinstance(node, DictConfig) else node._content
        for child in nodes if isinstance(nodes, list) or isinstance(node, DictConfig) else []:
            assert child._get_parent() is node
            if isinstance(child, Container):
                look(child)

    look(lantu.compose("model=mlp", "debug=overfit", "model.hidden=[1]", "++tags.a={b: [c]}").cfg)


def test_a_copy_of_a_config_shares_no_node_with_it() -> None:
    cfg = OmegaConf.create({"a": {"b": [1, {"c": "${a.d}"}], "d": 2}, "none": None, "left": "???"})
    OmegaConf.set_struct(cfg.a, True)
    copied = copy.deepcopy(cfg)
    assert copied == cfg
    assert OmegaConf.is_struct(copied.a)
    assert copied.a.b[1]._get_root() is copied
    OmegaConf.set_struct(copied.a, False)
    copied.a.d, copied.a.new, copied.a.b[0] = 3, 4, 5
    assert (cfg.a.b[1].c, copied.a.b[1].c) == (2, 3)
    assert OmegaConf.is_struct(cfg.a)
    assert OmegaConf.to_container(cfg, resolve=False)["a"] == {"b": [1, {"c": "${a.d}"}], "d": 2}
    part = copy.deepcopy(cfg.a)
    assert part._get_parent() is cfg
    assert part.b[1].c == 2
