"""Every config file composes, says in its first line what it is, and names only things that exist."""

from pathlib import Path

import pytest
from hydra.utils import get_object

import lantu
from lantu.cli.catalog import fits
from lantu.config.checking import check, targets
from lantu.config.explain import leaves
from lantu.config.locations import shipped_conf

CONF = Path(str(shipped_conf()))
FILES = sorted(file.relative_to(CONF) for file in CONF.rglob("*.yaml"))
CHOICES = lantu.compose().choices
OF_COMPARE = Path("business/default.yaml")
GROUPS = [file for file in FILES if len(file.parts) == 2 and file.parts[0] in CHOICES and file != OF_COMPARE]
COMMANDS = sorted(file.stem for file in FILES if len(file.parts) == 1)
FITS = fits()


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_config_file_begins_with_a_sentence_that_says_what_it_is(file: Path) -> None:
    lines = (CONF / file).read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if "@package" not in line)
    assert first.startswith("# ")
    assert first.rstrip().endswith(".")


@pytest.mark.parametrize("file", GROUPS, ids=str)
def test_a_config_file_composes_and_names_only_things_that_exist(file: Path) -> None:
    chosen = _choosing(group=file.parts[0], name=file.stem)
    composition = lantu.compose(*chosen)
    # what a user has to type for `data=csv` and its like
    asked = [
        f"{key}={'.' if key in ('data.path', 'init.path') else 'something'}"
        for key, value in leaves(composition.cfg).items()
        if value == "???" and not key.startswith("spec.")
    ]
    if asked:
        composition = lantu.compose(*chosen, *asked)
    check(composition)
    for path, node in targets(composition.cfg):
        assert callable(get_object(node["_target_"])), path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_primary_config_composes(command: str) -> None:
    assert lantu.compose(command=command).cfg.paths.store


def _choosing(*, group: str, name: str) -> list[str]:
    """A file, together with a data set and a model that go with it."""
    if group == "model":
        return [f"model={name}", f"data={next(data for data, models in FITS.items() if name in models)}"]
    if group == "data":
        return [f"data={name}", f"model={FITS[name][0]}"]
    if group == "task":
        data = {
            "regression": "ames",
            "language_modeling": "tiny_shakespeare",
            "masked_language_modeling": "tiny_shakespeare",
            "question_answering": "squad",
            "auto": "csv",
            "detection": "bccd",
            "contrastive": "image_text",
            "slot_filling": "coffee_orders",
            "multimodal_classification": "openclipart_categories",
            "forecasting": "co2",
            "market_risk": "sp500",
            "speech_synthesis": "asterisk_en_synthesis",
        }.get(name, "digits")
        return [f"data={data}", f"model={FITS[data][0]}"]
    if group == "privacy":  # the default network has batch norm, which DP refuses
        return ["data=digits", "model=mlp", f"privacy={name}"]
    if name == "lora":  # which finds the attention of transformers by itself
        return ["data=trec", "model=bert", "peft=lora"]
    if group == "preset":
        return ["data=tiny_shakespeare", "model=gpt", f"preset={name}"]
    return [f"{group}=[{name}]" if group in ("callbacks", "logger") else f"{group}={name}"]
