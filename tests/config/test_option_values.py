"""Every option of conf/ with random values: accepted, or refused in a sentence, before anything heavy is imported."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lantu.cli.main import main
from lantu.config.checking import check
from lantu.config.composing import compose, config_search
from lantu.config.explain import leaves, options
from lantu.config.locations import shipped_conf
from lantu.config.ranges import RULES, complaint, rule_for
from lantu.config.ranges.training_ranges import STRATEGIES
from lantu.config.sweeping import Composer
from lantu.errors import UserError

BASES = (
    (), ("model=mlp", "optimizer=muon", "scheduler=cosine"), ("model=resnet", "optimizer=lion", "scheduler=plateau"),
    ("data=tiny_shakespeare", "model=gpt", "scheduler=wsd"), ("data=trec", "model=gru", "init=orthogonal"),
    ("data=ames", "model=linear", "optimizer=sgd", "scheduler=one_cycle"), ("data=udhr", "model=lstm"),
    ("data=trec", "model=bert", "peft=lora"), ("data=squad", "model=bert_qa"), ("data=trec", "model=fasttext"),
    ("data=digits", "model=linear", "callbacks=[default,early_stopping,ema]", "optimizer=rmsprop"),
)  # fmt: skip
"""Commands that together have most options."""
VALUES = (
    "-1", "0", "-0.5", "0.5", "1.0", "1.5", "3", "4294967296", "1e400", "10000000000000000000000", "nan", "inf", "-inf",
    "null", "true", "false", "''", "x", "'a b'", "[]", "[1]", "[-1]", "[0.5,x]", "{}", "{a: 1}", "[[1]]", "1e-30",
)  # fmt: skip
RULED = ("data", "model", "optimizer", "scheduler", "trainer", "peft", "init", "economics")
FUZZ = int(os.environ.get("LANTU_FUZZ", "1"))
"""Values of each option; 1: of 100 options drawn at random, which keeps the test short."""
NOT_VALUES = ("hydra", "spec.")
OTHERS_NUMBERS = ("hydra.launcher.", "hydra.sweeper.sampler.", "hydra.sweeper.pruner.", "hydra.sweeper.scheduler.",
                  "hydra.hydra_logging.", "hydra.job_logging.")  # fmt: skip
"""Options of joblib, Ray, SLURM, Optuna and Python's logging, which check them."""
MISTAKES = {
    "hydra.sweeper.n_trials=0": "from 1", "callbacks.predictions.most_rows=0": "from 1",
    "optimizer.lr=[1]": "takes", "optimizer.lr=-1": "0 or more", "optimizer.lr=nan": "a number",
    "optimizer.weight_decay=-0.1": "0 or more", "optimizer.betas=[0.9]": "2 of them", "seed=-1": "from 0 to 4294967295",
    "seed=4294967296": "from 0", "trainer.accumulate_grad_batches=0": "from 1", "trainer.val_check_interval=0": "1",
    "trainer.accelerator=tpu": "auto, cpu, gpu", "model._target_=no.such.Thing": "there is no package `no`",
    "model.widths=[0]": "from 1", "data.batch_size=0": "from 1", "model.dropout=1": "below 1", "~data": "needs `data`",
    "trainer.max_epochs=0": "from 1", "callbacks.checkpoint.monitor=test/loss": "measured once",
    "paths.run=FILE": "is a file", "paths.store=FILE": "is a file", "budget=5": "is a mapping", "data=null": "composed",
    "experiment_name=../../x": "another folder", "budget.usd=-1": "above 0", "trainer.precision=8": "32-true",
    f"experiment_name={'x' * 1000}": "250 characters", "name='a\tb'": "control characters",
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_impossible_value_is_refused_with_what_is_possible(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    assert main(["train", mistake]) == 2
    said = capsys.readouterr().err
    assert MISTAKES[mistake] in said
    assert "Traceback" not in said
    assert [each.name for each in tmp_path.iterdir()] == ["FILE"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=gpt", "data=tiny_shakespeare", "model.width=0"], "`model.width` takes"),
        (["model=gpt", "data=tiny_shakespeare", "model.heads=0"], "`model.heads` takes"),
        (["model=gpt", "data=tiny_shakespeare", "model.layers=0"], "`model.layers` takes"),
        (["model=gpt", "data=tiny_shakespeare", "data.vocab_size=0"], "`data.vocab_size` takes"),
        (["model=gpt", "data=tiny_shakespeare", "model.width=65"], "no multiple of `model.heads=4`"),
        (["model=bert", "data=trec", "model.config.num_attention_heads=7"], "no multiple of"),
        (["model=mlp", "model.hidden=[0]"], "`model.hidden` takes"),
        (["scheduler=plateau", "trainer.check_val_every_n_epoch=2"], "check_val_every_n_epoch=1"),
        (["callbacks=[default,early_stopping]", "trainer.limit_val_batches=0"], "never validates"),
        (["data=co2", "model=patchtst", "model.config.patch_length=-1"], "`model.config.patch_length` takes"),
        (["data=coffee_orders", "model=slot_network", "data.mels=0"], "`data.mels` takes"),
        (
            ["data=openclipart", "model=clip", "model.config.text_config.hidden_size=0"],
            "`model.config.text_config.hidden",
        ),
        (["data=digit_strings", "model=ctc", "task.beam=0"], "`task.beam` takes"),
        (["data=ames", "model=tabm", "model.members=-1"], "`model.members` takes"),
        (["trainer.max_epochs=-1"], "never ends"),
        (["data.split={val: 0.6, test: 0.5}"], "leave something to train on"),
    ],
)
def test_options_that_cannot_work_together_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(compose(*overrides))


def test_the_defaults_of_every_file_follow_the_rules() -> None:
    with config_search():
        files = [(group, name) for group in RULED for name in options(group)]
    for group, name in files:
        node = OmegaConf.load(shipped_conf() / group / f"{name}.yaml")
        for path, value in leaves(node, group).items():
            special = path.rpartition(".")[2].startswith("_") or ".defaults" in path or value == "???"
            if not special and not (isinstance(value, str) and "${" in value):
                assert complaint(path, value) is None


def test_every_number_of_conf_has_a_range() -> None:
    """Without one a negative count or a share of 7 is accepted, and noticed when the run has begun, or never."""
    without: list[str] = []
    for file in sorted(shipped_conf().rglob("*.yaml")):
        text, group = file.read_text(encoding="utf-8"), file.parent.relative_to(shipped_conf()).as_posix()
        node = yaml.load(text, yaml.CSafeLoader)  # OmegaConf takes ten times as long
        if group == "spec" or not isinstance(node, dict):
            continue
        named = re.search(r"^# @package (\S+)", text, re.MULTILINE)
        place = named.group(1) if named else group.replace("/", ".")
        prefix = "" if place in ("_global_", ".") else f"{place}."
        for path, value in leaves(node).items():
            if type(value) in (int, float) and rule_for(f"{prefix}{path}") is None:
                without.append(f"{prefix}{path} ({file.name})")
    assert not [each for each in without if not each.startswith(OTHERS_NUMBERS)]


def test_every_rule_is_of_an_option_that_exists() -> None:
    """Of options that every command has: a rule whose option was renamed checks nothing."""
    known = set(leaves(compose("scheduler=cosine").cfg))
    for path in RULES:
        if path.startswith(("seed", "trainer.")) and "*" not in path and "strategy" not in path:
            assert path in known | {"trainer.min_epochs", "trainer.min_steps"}, path


@cache
def _composer() -> tuple[Composer, list[tuple[tuple[str, ...], str]]]:
    """Sets values in configs that are composed once, and every option of every base."""
    composer = Composer(GlobalHydra.instance().config_loader(), lambda point: compose(*point))
    found: dict[str, tuple[str, ...]] = {}
    for base in BASES:
        for path in leaves(compose(*base).cfg):
            found.setdefault(path, base)
    return composer, [(base, path) for path, base in found.items() if not path.startswith(NOT_VALUES)]


def _answered(composer: Composer, overrides: tuple[str, ...]) -> bool:
    """Whether a command is accepted; a refusal is one sentence or a few, without the names of Python's errors."""
    try:
        check(composer(overrides))
    except UserError as error:
        said = str(error)
        assert said, overrides
        assert "Traceback" not in said, overrides
        assert "\n" not in said, overrides
        return False
    return True


def _trials() -> Iterator[tuple[tuple[str, ...], str]]:
    random = Random(time.time_ns())
    with config_search():
        _, every = _composer()
    for base, path in every if FUZZ > 1 else random.sample(every, 200):
        for value in random.sample(VALUES, FUZZ):
            yield base, f"{path}={value}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_option_with_random_values_is_accepted_or_answered_in_a_sentence() -> None:
    accepted = refused = 0
    with config_search():
        composer, _ = _composer()
        for base, override in _trials():
            if _answered(composer, (*base, override)):
                accepted += 1
            else:
                refused += 1
    assert refused > 20
    assert accepted > 5


@settings(max_examples=40 * FUZZ, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_text_lists_and_numbers_are_accepted_or_answered_in_a_sentence(data: st.DataObject) -> None:
    plain = st.one_of(
        st.integers(), st.floats(), st.booleans(), st.none(), st.text("abc-_.:/ é", max_size=12), st.just("${seed}")
    )
    value = data.draw(st.one_of(plain, st.lists(plain, max_size=3)))
    with config_search():
        composer, every = _composer()
        base, path = data.draw(st.sampled_from(every))
    rule = rule_for(path)
    if rule is not None and not isinstance(value, str):
        assert isinstance(rule.accepts(value), bool)
        assert "\n" not in (complaint(path, value) or "")
    with config_search():
        _answered(composer, (*base, f"{path}={_typed(value)}"))


def _typed(value: object) -> str:
    """A value as Hydra's command line has it."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if not _is_number(value) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_a_range_is_checked_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from lantu.cli.main import main; status = main(['train', 'optimizer.lr=-1']);"
        "heavy = [name for name in ('torch', 'pytorch_lightning', 'mlflow', 'pandas') if name in sys.modules];"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def test_the_strategies_are_those_that_lightning_registers() -> None:
    from pytorch_lightning.strategies import StrategyRegistry

    registered = {each for each in StrategyRegistry.available_strategies() if not each.startswith("lantu")}
    assert set(STRATEGIES) == registered
