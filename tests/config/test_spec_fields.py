"""What the catalogue reads from the files is what composing them gives."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import lantu
from lantu.config.composing import config_search
from lantu.config.explain import leaves, options
from lantu.config.spec_fields import data_fields, model_nodes, tasks_of_models


def told(node: Any) -> dict[str, Any]:
    """The keys of a node, with the values that are asked about: interpolations and what is mandatory."""
    return {key: value if str(value).startswith(("${", "???")) else None for key, value in leaves(node).items()}


with config_search():
    MODELS, DATA = options("model"), options("data")


@pytest.mark.parametrize("model", MODELS)
def test_the_node_of_a_model_read_from_files_is_the_composed_one(model: str) -> None:
    assert told(model_nodes()[model]) == told(lantu.compose(f"model={model}").cfg.model)


@pytest.mark.parametrize("data", DATA)
def test_the_spec_fields_of_a_data_set_read_from_files_are_the_composed_ones(data: str) -> None:
    assert data_fields()[data] == set(lantu.compose(f"data={data}").cfg.spec)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [gpt]\nwidth: 8\n",
        "defaults:\n  - gpt\n  - _self_\ncontext: 3\n",
        "defaults:\n  - _self_\n  - gpt\nwidth: 8\n",
        "defaults:\n  - /optimizer@_here_: sgd\n  - /init@inner: he\n  - override /task@_global_.task: auto\nx: 1\n",
        "defaults:\n  - /spec@_here_: [image, labels]\n",
        "defaults:\n  - optional /init@_here_: nothing\nwidth: ${spec.features}\n",
        "# @package _global_\nmodel:\n  width: ${spec.features}\n",
    ],
    ids=["base", "self last", "self first", "packages", "list", "optional", "package"],
)
def test_a_users_model_with_a_defaults_list_is_read_as_it_composes(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert told(model_nodes()["mine"]) == told(lantu.compose("model=mine").cfg.model)


@pytest.mark.parametrize(
    "task",
    [
        "defaults: [classification]\n",
        "defaults:\n  - _self_\n  - classification\n",
        "# @package _global_\ntask:\n  _target_: lantu.tasks.Regression\n  outputs: ${spec.outputs}\n",
    ],
    ids=["base", "self first", "package"],
)
def test_a_users_task_that_a_model_chooses_is_read_as_it_composes(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in ("model", "task"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    model = "defaults:\n  - mlp\n  - override /task@_global_.task: own\n  - _self_\n"
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(model)
    (tmp_path / "conf" / "task" / "own.yaml").write_text(task)
    monkeypatch.chdir(tmp_path)
    assert told(tasks_of_models()["mine"]) == told(lantu.compose("model=mine").cfg.task)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [digits]\nbatch_size: 3\n",
        "defaults:\n  - /spec@_global_.spec: [image]\n  - /init@extra: default\n",
        "defaults:\n  - /spec@_global_.spec.more: [image]\n",
        "# @package _global_\nspec: {own: null}\ndata: {}\n",
    ],
    ids=["base", "another node", "nested", "package"],
)
def test_a_users_data_set_with_a_defaults_list_provides_the_fields_that_it_composes_to(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    composed = OmegaConf.to_container(lantu.compose("data=mine").cfg, resolve=False)
    assert isinstance(composed, dict)
    assert data_fields()["mine"] == set(composed["spec"])
