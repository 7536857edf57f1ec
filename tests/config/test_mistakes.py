"""A user's mistake gets a sentence, exit status 2, and nothing heavy is imported or written for it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lantu.cli.main import main
from lantu.errors import UserError
from lantu.tracking.mlflow_runs import refuse_silent
from tests.warm import run_warm

MISTAKES = {
    "modle=cnn": ["no option `modle`", "Did you mean `model`?"],
    "model=cnnn": ["no model called `cnnn`", "Did you mean `cnn`", "mlp"],
    "lr=1e-3": ["no option `lr`", "`optimizer.lr`"],
    "optimizer.wd=0.1": ["no option `optimizer.wd`", "`optimizer.weight_decay`"],
    "+optimizer.lrr=0.1": ["AdamW has no option `lrr`", "`optimizer.lr`"],
    "optimizer=adamw": [
        "`optimizer=adamw`: AdamW has no `optimizer.momentum` and no `optimizer.ns_steps`",
        "which `experiment=shakespeare_fast` sets",
        "'~optimizer.momentum' '~optimizer.ns_steps'",
    ],
    "optimizer.lr=fast": ["`optimizer.lr` takes a number, 0 or more"],
    "trainer.max_epochs=1.5": ["`trainer.max_epochs` takes a whole number"],
    "data.batch_size=many": ["`data.batch_size` takes a whole number"],
    "callbacks.checkpoint.save_top_k=x": ["`callbacks.checkpoint.save_top_k` takes a whole number"],
    "callbacks.checkpoint.auto_insert_metric_name=x": ["takes true or false for"],
    "task.extra_metrics=f1": ["`task.extra_metrics` takes a mapping"],
    "data.augment=flip": ["`data.augment` takes a mapping"],
    "data.duplicates=remove": ["`data.duplicates` takes auto, drop, once or keep"],
    "model.activation=rlu": ["`model.activation` takes relu, ", "Did you mean `relu`"],
    "seed=x": ["`seed` takes a whole number"],
    "test=maybe": ["`test` takes true or false"],
    "seed=1,2": ["names several values", "add `-m`"],
    "optimizer.lr=[": ["cannot be read"],
    "optimizer.lr=${nope.lr}": ["there is no `nope.lr`"],
    "model=gpt": ["`model=gpt` needs `context`", "`data=digits` does not provide", "tiny_shakespeare"],
    "data.path=nope.csv": ["`data.path=nope.csv`: there is no such file"],
    "data=csv": ["`data=csv` needs a value for `data.path`", "add `data.path=...`"],
    "data=trec": ["the default `model=cnn` needs `channels`", "`model=gru`"],
    "resume=nowhere": ["`resume=nowhere`: there is no such file or folder", "the id of an MLflow run"],
    "resume=/nowhere/last.ckpt": ["there is no such file or folder"],
    "resume=.": ["there is no checkpoint in that folder"],
    "resume=0123456789abcdef": ["has no runs"],
    "resume=/etc/passwd": ["this file is no checkpoint"],
    "resume=auto": ["a new one at every start", "`paths.run=FOLDER`"],
    "peft=lora": ["CNN has none: name the layers with `peft.target_modules=[...]`"],
    "optimizer.learning_rate=0.1": ["Did you mean `optimizer.lr`?"],
    "trainer.epochs=3": ["`trainer.max_epochs`"],
    "callbacks.early_stopping.monitor=val/f1": [
        "this run has no callbacks `early_stopping`",
        "[default,early_stopping]",
    ],
    "hardware=a10": ["`lantu train` does not choose from the group `hardware`"],
    "data.path=~/x.csv": ["Type `data.path=$HOME/x.csv`"],
    "trainer.devices=3": ["`data.batch_size=63` or `data.batch_size=66` can"],
    "trainer.strategy=dpp": ["takes auto, ddp,"],
    "data.folds=5": ["needs the fold to test on"],
    "paths.root=/proc/nothing": ["/proc cannot be written", "`paths.root=DIR`"],
    "paths.run=/proc/nothing": ["/proc cannot be written"],
    "hydra.run.dir=/proc/nothing": ["/proc cannot be written"],
    "paths.tracking_uri=htpp://me:pw@host": ["no store of the kind `htpp`", "Did you mean `http`", "REDACTED@host"],
    "paths.tracking_uri=http://": ["names no server"],
    "init=weights": ["no such file"],
    "model.config.model_type=distilbrt": ["transformers has no such model. Did you mean `distilbert`"],
    "callbacks.checkpoint.mode=max": ["less of `val/loss` is better"],
    "task.extra_metrics.kappa._target_=torchmetrics.CohenKapa": ["Did you mean `torchmetrics.CohenKappa`"],
    "task.extra_metrics.kappa=3": ["is no metric of torchmetrics"],
    "trainer=ddpp": ["no trainer called `ddpp`", "Did you mean `ddp`"],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_what_to_type_instead(
    mistake: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = {
        "data=csv": ["model=mlp"],
        "data.path=nope.csv": ["model=mlp", "data=csv", "data.target=y"],
        "hardware=a10": ["model=mlp", "data=csv", "data.path=x.csv", "data.target=y"],
        "optimizer=adamw": ["experiment=shakespeare_fast"],
        "init=weights": ["init.path=nope.safetensors"],
        "model.config.model_type=distilbrt": ["model=bert", "data=trec"],
    }
    overrides = [mistake, *table.get(mistake, [])]
    assert main(["train", *overrides]) == 2
    said = capsys.readouterr().err
    for part in MISTAKES[mistake]:
        assert part in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir()), "something was written for a command that cannot run"


@pytest.mark.parametrize(
    "typed",
    [
        "predict run=nowhere",
        "predict run=nowhere.ckpt",
        "predict",
        "predict input=nowhere.csv",
        "predict output=answers.xls",
        "evaluate run=.",
        "evaluate run=best:nothing",
        "evaluate split=tset",
    ],
)
def test_a_run_or_file_that_is_not_there_is_answered_at_once(
    typed: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lantu {typed.split(maxsplit=1)[0]}: `{([*typed.split(), 'run=last'])[1]}`")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ["predict run=0123456789", "train resume=0123456789", "compare"])
def test_a_server_that_does_not_answer_is_named_at_once(
    typed: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as once_there:
        address = f"http://127.0.0.1:{once_there.getsockname()[1]}"
    assert main([*typed.split(), f"paths.tracking_uri={address}"]) == 2
    assert f"the MLflow server at {address} does not answer" in capsys.readouterr().err


def test_a_server_behind_a_proxy_is_the_proxys_matter_and_a_port_that_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for port in ("99999", "abc"):
        with pytest.raises(UserError, match="does not answer"):
            refuse_silent(f"http://127.0.0.1:{port}")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    refuse_silent("https://mlflow.example.invalid")
    monkeypatch.setenv("no_proxy", "example.invalid")
    with pytest.raises(UserError, match="does not answer"):
        refuse_silent("https://mlflow.example.invalid")


def test_every_point_of_a_sweep_is_checked_before_the_first_job(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "seed=0,1,2", "model=cnn,mlp,gpt"]) == 2
    assert "`model=gpt` needs `context`" in capsys.readouterr().err
    assert main(["train", "-m", "data.folds=2", "data.fold=0,1,2"]) == 2
    assert "the trial `fold=2`: `data.fold=2`" in capsys.readouterr().err
    assert main(["train", "-m", "optimizer.lr=range(3,1)"]) == 2
    assert "names no value" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "typed",
    [
        "train callbacks.checkpoint.monitor=val/acuracy", "train resume=nowhere", "predict", "evaluate run=nowhere",
    ],
)  # fmt: skip
def test_a_mistake_is_answered_before_torch_is_imported(typed: str, tmp_path: Path) -> None:
    code = (
        f"import sys; from lantu.cli.main import main; status = main({typed.split()});"
        "heavy = [name for name in ('torch', 'pytorch_lightning', 'mlflow', 'pandas') if name in sys.modules];"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_help_is_written_for_a_person_and_imports_nothing_heavy(script: str, tmp_path: Path) -> None:
    code = (
        f"import sys; from lantu.cli.main import main; status = main([{script!r}, '--help']);"
        "heavy = [name for name in ('torch', 'pytorch_lightning', 'mlflow', 'pandas') if name in sys.modules];"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"lantu {script}" in done.stdout


def test_an_unknown_command_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "Did you mean `train`?" in capsys.readouterr().err


def test_a_users_own_config_folder_comes_before_ours(tmp_path: Path) -> None:
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "mine.yaml").write_text(
        "# Plain descent.\n_target_: torch.optim.SGD\n_partial_: true\nlr: 0.125\n"
    )
    (tmp_path / "conf" / "optimizer" / "adamw.yaml").write_text(
        "# My AdamW.\n_target_: torch.optim.AdamW\n_partial_: true\nlr: 0.25\n"
    )
    script = "from lantu.config.composing import compose; print(compose({}).cfg.optimizer.lr)"
    environment = {**os.environ, "LANTU_CONF": ""}
    for override, lr in (("'optimizer=mine'", "0.125"), ("", "0.25")):
        done = subprocess.run(
            [sys.executable, "-c", script.format(override)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == lr


@pytest.mark.parametrize("typed", [["train"], ["train", "-m", "seed=0,1"]])
def test_a_folder_where_nothing_can_be_written_is_named(
    typed: list[str],
    mounted: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = mounted("ro")
    monkeypatch.delenv("LANTU_HOME", raising=False)
    monkeypatch.chdir(folder)
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert f"{folder} cannot be written: its file system is read-only. `paths.root=DIR` keeps them" in said


def test_a_mistake_that_only_the_data_show_leaves_no_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n3,4\n")
    command = [sys.executable, "-m", "lantu", "train", "data=csv", "model=mlp", "data.path=table.csv", "data.target=b"]
    done = run_warm(command, cwd=tmp_path)
    assert (done.returncode, "leave" in done.stderr) == (2, True), done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("option", ["target", "ignore", "keep", "group", "time"])
def test_a_column_that_a_table_lacks_is_named_by_its_header_alone(
    option: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"age": [1, 2], "label": ["x", "y"]})
    rows.to_csv("t.csv", index=False) if ending == "csv" else rows.to_parquet("t.parquet")
    asked = {"target": "label", option: "[lable]" if option in ("ignore", "keep") else "lable"}
    options = [f"data.{name}={value}" for name, value in asked.items()]
    assert main(["train", "-m", "seed=0,1", "data=csv", "model=mlp", f"data.path=t.{ending}", *options]) == 2
    said = capsys.readouterr().err
    assert f"`data.{option}=lable`: t.{ending} has no such column. Did you mean `label`? There are: age, label." in said
    assert [each.name for each in tmp_path.iterdir()] == [f"t.{ending}"]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["data.path=" + "x" * 5000], "there is no such file or folder|File name too long"),
        (["model=" + "x" * 5000], "File name too long|Did you mean|there is no"),
        (["resume=" + "x" * 5000], "File name too long|there is no"),
        (["paths.store=null"], "each name a folder"),
        (["paths.store=[]"], "each name a folder"),
        (["data.path=${nothing:1}"], r"`data.path` cannot be resolved: Unsupported interpolation type nothing"),
    ],
)
def test_values_that_no_option_can_have_are_short_sentences(
    typed: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path.with_suffix(".csv")
    table.write_text("a,y\n1,2\n3,4\n")
    own = ["data=csv", "data.target=y", "model=mlp", *([] if "data.path" in typed[0] else [f"data.path={table}"])]
    assert main(["train", *own, *typed]) == 2
    said = capsys.readouterr().err
    assert re.search(sentence, said)
    assert len(said) < 1500
    assert not list(tmp_path.iterdir())
