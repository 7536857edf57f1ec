"""A user's package outside the repository adds a kind of data, model, task, metric and figure, and everything works.

The package is the one that CONTRIBUTING.md shows, file by file.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

import lantu
from lantu.cli.main import main

REPO = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)```", re.DOTALL)
QUICK = ("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1")


def write_package(folder: Path) -> None:
    """The files that CONTRIBUTING.md shows."""
    for name, text in BLOCK.findall((REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def draw_pictures(folder: Path, count: int = 30) -> None:
    """Pictures of different sizes with one square or disc each."""
    random, lines = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(count):
        width, height, size = (int(each) for each in random.integers((24, 24, 8), (40, 40, 14)))
        x, y = int(random.integers(0, width - size)), int(random.integers(0, height - size))
        picture = Image.new("RGB", (width, height))
        draw = ImageDraw.Draw(picture)
        (draw.rectangle if number % 2 else draw.ellipse)((x, y, x + size, y + size), fill="white")
        picture.save(folder / f"{number:02}.png")
        objects = {"bbox": [[x, y, size, size]], "categories": [1 - number % 2]}
        lines.append(json.dumps({"file_name": f"{number:02}.png", "objects": objects}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's folder as the working directory, as it is for somebody who types `lantu` there."""
    folder, before, path = tmp_path_factory.mktemp("home"), Path.cwd(), list(sys.path)
    write_package(folder)
    draw_pictures(folder / "pictures")
    os.chdir(folder)
    sys.path[:] = [each for each in sys.path if each]
    yield folder
    os.chdir(before)
    sys.path[:] = path
    for name in [each for each in sys.modules if each.partition(".")[0] == "shapes"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    """The folder of a run that the command line trained."""
    asked = ["data=shapes", "model=toy_detector", "data.path=pictures", "trainer.max_epochs=3", "optimizer.lr=0.01"]
    assert main(["train", *asked, *QUICK, "paths.run=mlruns/runs/first", "logger.mlflow.ship=false"]) == 0
    return home / "mlruns" / "runs" / "first"


def recorded(run: Path) -> dict[str, float]:
    values: dict[str, float] = {}
    for line in (run / "journal" / "records.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        values |= record.get("values", {}) if record.get("kind") == "metrics" or "step" in record else {}
    return values


def test_it_trains_and_its_losses_metric_and_figure_are_recorded(trained: Path) -> None:
    found = recorded(trained)
    assert {"train/loss", "train/box_loss", "val/box_loss", "val/iou", "test/class_loss", "test/iou"} <= found.keys()
    assert found["test/loss"] == pytest.approx(found["test/box_loss"] + found["test/class_loss"], rel=1e-5)
    assert found["speed/latency_ms"] > 0, "one example was taken out of a list of images"
    assert {"boxes.png", "learning_curve.png"} <= {file.name for file in (trained / "figures").iterdir()}


def test_it_is_evaluated_and_predicts_by_its_checkpoint_alone(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "run=mlruns/runs/first"]) == 2
    assert "LANTU_TRUSTED=shapes" in capsys.readouterr().err
    monkeypatch.setenv("LANTU_TRUSTED", "shapes")
    assert main(["evaluate", "run=mlruns/runs/first"]) == 0
    assert f"{recorded(trained)['test/iou']:.6g}" in capsys.readouterr().out
    assert main(["predict", "run=mlruns/runs/first", "input=pictures", "output=boxes.csv"]) == 0
    answers = pd.read_csv(home / "boxes.csv")
    assert list(answers) == ["path", "prediction", "probability", "box"]
    assert len(answers) == 30
    assert set(answers["prediction"]) <= {"square", "disc"}


def test_it_is_served_as_an_mlflow_model(trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANTU_TRUSTED", "shapes")
    model = mlflow.pyfunc.load_model(str(trained / "model"))
    assert model.metadata.signature.inputs.input_names() == ["path"]
    answers = model.predict(pd.DataFrame({"path": [str(home / "pictures" / f"{n:02}.png") for n in range(5)]}))
    assert list(answers) == model.metadata.signature.outputs.input_names()
    assert all(len(json.loads(box)) == 4 for box in answers["box"])


def test_it_resumes_to_the_same_weights(trained: Path, home: Path) -> None:
    asked = ["data=shapes", "model=toy_detector", "data.path=pictures", "optimizer.lr=0.01", *QUICK, "test=false"]
    options = ["paths.run=mlruns/runs/second", "logger.mlflow.ship=false", "save_model=false"]
    assert main(["train", *asked, *options, "trainer.max_epochs=1"]) == 0
    assert main(["train", *asked, *options, "trainer.max_epochs=3", "resume=mlruns/runs/second"]) == 0
    assert recorded(home / "mlruns/runs/second")["val/loss"] == pytest.approx(recorded(trained)["val/loss"], rel=1e-6)


def test_what_is_stored_of_each_example_names_its_row(trained: Path, home: Path) -> None:
    from lantu.checkpoints.load import load
    from lantu.inference.rebuild import rebuild

    os.environ["LANTU_TRUSTED"] = "shapes"
    try:
        rebuilt = rebuild(trained / "checkpoints" / "best.ckpt")
    finally:
        del os.environ["LANTU_TRUSTED"]
    assert load(trained / "checkpoints" / "best.ckpt")["state_dict"].keys() == rebuilt.task.state_dict().keys()
    rebuilt.data.prepare_data()
    (images, targets) = next(iter(rebuilt.data.test_dataloader()))
    rows = rebuilt.data.rows_of_batch("test", 0)
    stored = rebuilt.task.per_example({"row": rows, "output": rebuilt.task(images).detach(), "y": targets})
    assert stored is not None
    assert list(stored["row"]) == [0, 1, 2]
    assert [rebuilt.data.row_ids("test")[row] for row in stored["row"]] == [
        file.name for file in rebuilt.data.splits["test"].files
    ]


def test_two_of_its_runs_are_compared(trained: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["-m", "data=shapes", "model=toy_detector", "data.path=pictures", "model.width=4,8", "trainer.max_epochs=1"]
    assert main(["train", *asked, *QUICK, "save_model=false", "sweep.name=widths", "sweep.compare=false"]) == 0
    assert main(["compare", "sweep=widths", "metric=val/iou"]) == 0
    assert "width" in capsys.readouterr().out


def test_the_lantu_command_finds_packages_in_the_working_directory(home: Path) -> None:
    command = [str(Path(sys.executable).parent / "lantu"), "train", "data=shapes", "model=toy_detector"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    wrong = [*command, "data.path=pictures", "model._target_=shapes.model.ToyDetectr"]
    ended = subprocess.run(wrong, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "does not define `ToyDetectr`. Did you mean `shapes.model.ToyDetector`" in ended.stderr


def test_real_pictures_of_cells_are_a_data_set_of_the_same_package(
    trained: Path, mirror: Path, train_shortly: Callable[..., lantu.Result]
) -> None:
    if not (mirror / "bccd").is_dir():
        pytest.skip(f"needs the blood cell pictures; none at {mirror}/bccd")
    result: lantu.Result = train_shortly(
        "data=shapes", "model=toy_detector", f"data.path={mirror}/bccd/validation", "data.limit=16",
        "data.classes=[Platelets,RBC,WBC]",
    )  # fmt: skip
    assert {"train/loss", "val/iou", "test/iou"} <= result.metrics.keys()
