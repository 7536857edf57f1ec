"""A trained model is found again, measured to the same numbers, and applied to new data, from its run alone."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer

import lantu
from lantu.checkpoints.embedded_config import Recipe
from lantu.cli.main import main
from lantu.errors import UserError
from lantu.inference.evaluate import evaluate
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.tracking.find import find_checkpoint
from tests.stores import uploaded

Train = Callable[..., lantu.Result]
OPTIONS = (
    "trainer.max_steps=20", "trainer.enable_progress_bar=false", "save_model=false", "logger.mlflow.ship=false",
    "callbacks.figures=null",
)  # fmt: skip
COMBINATIONS = {
    "csv": ["data=csv", "model=mlp", "optimizer.lr=0.01", "trainer.max_steps=100"],
    "image_folder": ["data=image_folder", "model=cnn"],
    "text_table": ["data=text_table", "model=gru", "optimizer.lr=0.01", "trainer.max_steps=60"],
    "text_files": ["data=text_files", "model=gpt", "model.width=32", "model.layers=2", "data.context=32"],
}


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )


@pytest.fixture(scope="module")
def trained(own_data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], lantu.Result]:
    """A run of each kind, trained when it is first asked for."""

    @cache
    def of(kind: str) -> lantu.Result:
        root = tmp_path_factory.mktemp(kind)
        return lantu.run(lantu.compose(f"paths.root={root}", *OPTIONS, *COMBINATIONS[kind], *own_data[kind]))

    return of


@pytest.mark.parametrize("kind", COMBINATIONS)
def test_test_metrics_are_reproduced_exactly_from_the_checkpoint_alone(
    kind: str, trained: Callable[[str], lantu.Result], trainer: Trainer
) -> None:
    result = trained(kind)
    again = evaluate(rebuild(find_checkpoint(str(result.run_dir), store=result.run_dir)), trainer)
    tested = {name: value for name, value in result.metrics.items() if name.startswith("test/")}
    assert again == tested


def test_rows_of_a_table_get_their_answers_in_order(
    trained: Callable[[str], lantu.Result], trainer: Trainer, tmp_path: Path
) -> None:
    result = trained("csv")
    rows = pd.DataFrame(
        {"age": [20, 75, 30, 70], "income": [1000, np.nan, 4000, 3000.5], "home": ["rent", "own", "?", "free"]}
    )
    rows.to_csv(tmp_path / "new.csv", index=False)
    answers = predict(rebuild(result.best_checkpoint), trainer, tmp_path / "new.csv")
    assert list(answers["prediction"]) == ["no", "yes", "no", "yes"]
    assert list(answers["age"]) == [20, 75, 30, 70]
    assert answers["probability"].between(0.5, 1).all()


def test_pictures_and_texts_get_answers_with_their_class_names(
    own_data: dict[str, list[str]], trained: Callable[[str], lantu.Result], trainer: Trainer, tmp_path: Path
) -> None:
    pictures = trained("image_folder")
    folder = Path(own_data["image_folder"][0].partition("=")[2]) / "cats"
    answers = predict(rebuild(pictures.best_checkpoint), trainer, folder)
    assert list(answers["image"]) == sorted(str(file) for file in folder.iterdir())
    assert set(answers["prediction"]) <= {"cats", "dogs"}
    texts = trained("text_table")
    (tmp_path / "new.txt").write_text("good film number 3\nbad film number 9\n")
    answers = predict(rebuild(texts.best_checkpoint), trainer, tmp_path / "new.txt")
    assert list(answers["prediction"]) == ["good", "bad"]


def test_the_commands_write_tables_by_the_ending_and_text_to_the_terminal(
    own_data: dict[str, list[str]], trained: Callable[[str], lantu.Result], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    file = own_data["csv"][0].partition("=")[2]
    monkeypatch.setenv("LANTU_HOME", trained("csv").cfg.paths.root)
    for name in ("answers.csv", "answers.parquet", "answers.jsonl"):
        assert main(["predict", "run=last", f"input={file}", f"output={name}"]) == 0
    tables = [pd.read_csv("answers.csv"), pd.read_parquet("answers.parquet"), pd.read_json("answers.jsonl", lines=True)]
    assert all(list(each["prediction"]) == list(tables[0]["prediction"]) and len(each) == 200 for each in tables)
    assert main(["evaluate", "run=last"]) == 0
    monkeypatch.setenv("LANTU_HOME", trained("text_files").cfg.paths.root)
    capsys.readouterr()
    assert main(["predict", "run=last", "prompt=The quick", "tokens=30"]) == 0
    whole = capsys.readouterr().out
    assert whole.startswith("The quick")
    assert main(["predict", "run=last", "prompt=The quick", "tokens=30", f"stop='{whole[14:16]}'"]) == 0
    written = capsys.readouterr().out.removeprefix("The quick").rstrip("\n")
    assert whole.startswith("The quick" + written)
    assert whole[14:16] not in written
    Path("prompts.txt").write_text("The\n\nThe quick brown\n")
    arguments = ["predict", "run=last", "input=prompts.txt", "tokens=9", "temperature=0"]
    assert main(arguments) == 0
    alone = ["predict", "run=last", "prompt=The quick brown", "tokens=9", "temperature=0"]
    together = capsys.readouterr().out
    assert main(alone) == 0
    assert together.endswith("\n\n---\n\n" + capsys.readouterr().out)
    assert main([*arguments, "output=texts.jsonl"]) == 0
    texts = pd.read_json("texts.jsonl", lines=True)
    assert list(texts["prompt"]) == ["The", "The quick brown"]
    assert all(text.startswith(prompt) for prompt, text in zip(texts["prompt"], texts["text"], strict=True))
    pd.DataFrame({"question": ["?"]}).to_csv("wrong.csv", index=False)
    assert main(["predict", "run=last", "input=wrong.csv"]) == 2
    assert "has a column `prompt`; this has question" in capsys.readouterr().err


def test_a_run_is_found_by_last_folder_file_id_name_and_best(train: Train, tmp_path: Path) -> None:
    first = train("model=linear", "optimizer.lr=0.05", "name=good", *OPTIONS)
    second = train("model=linear", "optimizer.lr=1e-7", "name=poor", *OPTIONS)
    store = tmp_path / "mlruns"
    run_id = uploaded(first, store)
    assert uploaded(second, store) != run_id
    for asked, result in {
        "last": second, str(first.run_dir): first, str(first.best_checkpoint): first, run_id: first,
        run_id[:12]: first, "poor": second, "best:digits": first,
    }.items():  # fmt: skip
        assert find_checkpoint(asked, store=store) == result.run_dir / "checkpoints" / "best.ckpt", asked


@pytest.mark.parametrize(
    ("run", "said"),
    [("nothing-like-it", "there is no"), ("x.ckpt", "no such checkpoint file"), ("last", "Train one first")],
)
def test_a_run_that_is_not_there_is_answered_in_a_sentence(run: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(lantu.UserError, match=said):
        find_checkpoint(run, store=tmp_path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_carries_code_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "more": Hostile(tmp_path / "harmed")}, tmp_path / "evil.ckpt")
    with pytest.raises(lantu.UserError, match="cannot be read as a checkpoint"):
        rebuild(tmp_path / "evil.ckpt")
    assert not (tmp_path / "harmed").exists()


def test_a_config_that_names_a_function_to_call_is_refused(train_shortly: Train, tmp_path: Path) -> None:
    result = train_shortly("model=linear")
    checkpoint = torch.load(result.best_checkpoint, weights_only=True)
    config = checkpoint["callbacks"][Recipe.KEY]["config"]
    config["model"] = {"_target_": "os.system", "command": f"touch {tmp_path}/harmed"}
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    with pytest.raises(lantu.UserError, match=r"`os\.system`.*may not build there"):
        rebuild(tmp_path / "evil.ckpt")
    assert not (tmp_path / "harmed").exists()


def test_a_checkpoint_of_another_run_a_damaged_config_and_a_lost_best_are_told_apart(
    trained: Callable[[str], lantu.Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained("csv").run_dir, tmp_path / "run")
    best, config = run / "checkpoints" / "best.ckpt", run / "config.yaml"
    for content in (b"", b"hello: [world"):
        config.write_bytes(content)
        rebuild(best)  # the checkpoint holds what is needed
    shutil.copy(trained("image_folder").run_dir / "config.yaml", config)
    with pytest.raises(
        UserError, match=r"of another run than the folder it is in: .*data\._target_=lantu\.data\.Table"
    ):
        rebuild(best)
    best.unlink()
    assert find_checkpoint(str(run), store=tmp_path).name == "last.ckpt"
    assert f"{run}/checkpoints holds no best.ckpt: the weights of last.ckpt are used" in capsys.readouterr().err
    find_checkpoint(str(best.with_name("last.ckpt")), store=tmp_path)
    assert capsys.readouterr().err == ""
    best.touch()
    with pytest.raises(UserError, match=r"best\.ckpt is empty"):
        rebuild(best)


def test_a_damaged_checkpoint_is_named(train_shortly: Train, tmp_path: Path) -> None:
    result = train_shortly("model=linear")
    whole = result.best_checkpoint.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(lantu.UserError, match=r"cut\.ckpt cannot be read"):
        rebuild(tmp_path / "cut.ckpt")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["input=nowhere.csv"], "no such file or folder"),
        (["input=.", "output=answers.xls"], "must be one of .csv, .parquet, .jsonl"),
        (["prompt=a", "top_p=2"], "`top_p=2`"),
        (["prompt=a", "repetition_penalty=0"], "`repetition_penalty=0`"),
        (["prompt=a", "tokens=0"], "`tokens=0`"),
        (["prompt=a", "stop=''"], "at least one character"),
    ],
)
def test_a_mistake_in_predict_is_answered_in_a_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.ckpt").write_bytes(b"PK")  # what else is asked for is looked at before it is read
    assert main(["predict", "run=some.ckpt", *arguments]) == 2
    assert said in capsys.readouterr().err
