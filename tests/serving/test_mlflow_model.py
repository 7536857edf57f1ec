"""A run's model is an MLflow model: any MLflow client with Lantu installed can load it, and no pickle is in it."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from rich.console import Console

import lantu
from lantu.serving.package import LOADER, WEIGHTS
from lantu.training.summary import show
from tests.stores import uploaded

Train = Callable[..., lantu.Result]
OPTIONS = ("trainer.max_steps=5", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "test=false")


def test_the_model_loads_from_the_run_and_answers_with_class_names(
    train: Train, own_data: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train("data=csv", "model=linear", *own_data["csv"], *OPTIONS)
    run_id = uploaded(result, tmp_path / "mlruns")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    rows = pd.read_csv(own_data["csv"][0].partition("=")[2]).drop(columns="repaid").head(7)
    answers = model.predict(rows)
    assert set(answers["prediction"]) <= {"yes", "no"}
    assert answers["probability"].between(0.5, 1).all()
    assert model.metadata.signature.inputs.input_names() == ["age", "income", "home"]
    with pytest.raises(MlflowException, match="Incompatible input types for column age"):
        model.predict(rows.assign(age="old"))
    registered = mlflow.register_model(f"runs:/{run_id}/model", "loans")
    assert len(mlflow.pyfunc.load_model(f"models:/loans/{registered.version}").predict(rows)) == 7


@pytest.mark.slow
def test_images_texts_and_prompts_are_answered_too(train: Train, own_data: dict[str, list[str]]) -> None:
    digits = _model(train("model=cnn", *OPTIONS))
    assert len(digits.predict(np.zeros((3, 8, 8, 1), dtype=np.uint8))) == 3
    texts = _model(train("data=text_table", "model=lstm", *own_data["text_table"], *OPTIONS))
    assert set(texts.predict(pd.DataFrame({"text": ["good film", "bad film"]}))["prediction"]) <= {"good", "bad"}
    writer = _model(train("data=text_files", "model=gpt", "model.width=32", *own_data["text_files"], *OPTIONS))
    assert writer.predict(pd.DataFrame({"prompt": ["The "]}))["text"][0].startswith("The ")


def test_there_is_no_pickle_and_no_optimizer_in_a_model(train: Train) -> None:
    result = train("model=mlp", *OPTIONS)
    files = {file.name for file in (result.run_dir / "model").rglob("*") if file.is_file()}
    assert not {file for file in files if file.endswith((".pkl", ".pickle"))}
    weights = next((result.run_dir / "model").rglob("*.ckpt"))
    assert weights.stat().st_size < 0.6 * result.best_checkpoint.stat().st_size


def test_the_files_are_those_that_mlflow_would_write(train: Train, tmp_path: Path) -> None:
    ours = train("model=linear", *OPTIONS).run_dir / "model"
    metadata, written = Model.load(ours / "MLmodel"), yaml.safe_load((ours / "MLmodel").read_text())
    theirs = tmp_path / "model"
    mlflow.pyfunc.save_model(
        str(theirs), loader_module=LOADER, data_path=str(ours / WEIGHTS), signature=metadata.signature,
        metadata=metadata.metadata, pip_requirements=str(ours / "requirements.txt"),
    )  # fmt: skip
    expected = yaml.safe_load((theirs / "MLmodel").read_text())
    assert expected["flavors"]["python_function"].pop("code") is None
    assert written.keys() == expected.keys()
    assert {key for key in written if written[key] != expected[key]} == {"model_uuid", "utc_time_created"}
    assert {path.relative_to(ours) for path in ours.rglob("*")} == {
        path.relative_to(theirs) for path in theirs.rglob("*")
    }
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        assert yaml.safe_load((ours / name).read_text()) == yaml.safe_load((theirs / name).read_text()), name


def test_what_answers_nothing_is_kept_as_no_model_and_the_terminal_says_what_it_is_for(
    train: Train, own_data: dict[str, list[str]], tmp_path: Path
) -> None:
    pretraining = ("data=text_table", *own_data["text_table"], "model=bert_mlm", "task.masked=0.5")
    bare = train(*pretraining, f"paths.run={tmp_path}/bare", *OPTIONS)
    left = train(*pretraining, f"paths.run={tmp_path}/left", "callbacks=[default,transformers]", *OPTIONS)
    assert bare.best_checkpoint.is_file()
    assert not (bare.run_dir / "model").exists()
    for result, said in ((bare, "callbacks=[default,transformers]"), (left, "model.pretrained=")):
        console = Console(record=True, width=200)
        show(result, console)
        text = console.export_text()
        assert said in text
        assert "lantu predict" not in text


def _model(result: lantu.Result) -> mlflow.pyfunc.PyFuncModel:
    return mlflow.pyfunc.load_model(str(result.run_dir / "model"))
