"""Metrics by slice: `task.slices=[column]`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils.data import TensorDataset

import lantu
from lantu.data import DataModule, fingerprint_of
from lantu.data.slices import MISSING, OTHER, Slices
from lantu.errors import UserError
from lantu.inference.evaluate import evaluate
from lantu.inference.rebuild import rebuild
from lantu.tasks.metric_state import collect, reduce, restore
from lantu.tasks.metrics_by_slice import SLICE, SliceMetrics, select


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the south nothing tells who repays; elsewhere the age does. The region is no feature."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"age": random.integers(18, 80, 600), "region": random.choice(["north", "south", "a/b"], 600)})
    known = np.where(table["age"] > 45, "yes", "no")
    table["repaid"] = np.where(table["region"] == "south", random.choice(["yes", "no"], 600), known)
    file = tmp_path_factory.mktemp("people") / "people.csv"
    table.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    return lantu.run(
        lantu.compose(
            f"paths.root={tmp_path_factory.mktemp('runs')}", "data=csv", f"data.path={people}", "data.target=repaid",
            "data.ignore=[region]", "task.slices=[region,age]", "model=mlp", "trainer.max_epochs=4",
            "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "++callbacks.figures=null",
        )
    )  # fmt: skip


def test_each_slice_is_measured_as_if_it_were_the_whole_test_split(run: lantu.Result) -> None:
    stored = pd.read_parquet(run.run_dir / "predictions" / "test.parquet")
    region = run.data.carried_values("test", "region").to_numpy()[stored["row"]]
    right = stored["target"] == stored["prediction"]
    for name in ("north", "south", "a/b"):
        assert run.metrics[f"test/accuracy/slice/region/{name}"] == pytest.approx(right[region == name].mean())
    assert run.metrics["test/auroc/slice/region/north"] > run.metrics["test/auroc/slice/region/south"] + 0.2


def test_a_column_that_is_not_learned_from_can_be_sliced_by(run: lantu.Result) -> None:
    assert {name.split()[0] for name in run.cfg.spec.feature_names} == {"age"}
    assert "val/f1/slice/region/north" in run.metrics


def test_a_column_of_numbers_is_sliced_into_quarters(run: lantu.Result) -> None:
    slices = [name for name in run.metrics if name.startswith("test/accuracy/slice/age/")]
    assert len(slices) == 4
    assert any("/below " in name for name in slices)


def test_evaluate_measures_the_same_slices(run: lantu.Result) -> None:
    assert run.best_checkpoint is not None
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    found = evaluate(rebuild(run.best_checkpoint), trainer)
    sliced = {name: value for name, value in run.metrics.items() if SLICE in name and name.startswith("test/")}
    assert sliced == pytest.approx({name: value for name, value in found.items() if SLICE in name})


def test_the_test_slices_are_kept_as_a_table(run: lantu.Result) -> None:
    (file,) = run.run_dir.rglob("slices_test.json")
    table = json.loads(file.read_text())
    rows = pd.DataFrame(table["data"], columns=table["columns"]) if "data" in table else pd.DataFrame(table)
    north = rows[(rows["column"] == "region") & (rows["slice"] == "north")].iloc[0]
    assert north["examples"] == (run.data.carried_values("test", "region") == "north").sum()
    assert north["accuracy"] == pytest.approx(run.metrics["test/accuracy/slice/region/north"], abs=1e-4)


def test_slices_are_shown_apart_from_the_metrics(run: lantu.Result, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from lantu.training.summary import show

    show(run, Console(width=200))
    said = capsys.readouterr().out
    assert "slices of test" in said
    assert "region/a/b" in said
    assert SLICE not in said


def test_a_column_that_is_not_there_is_refused_with_the_near_miss(
    people: Path, train: Callable[..., lantu.Result]
) -> None:
    with pytest.raises(UserError, match=r"`task.slices=regoin`.* Did you mean .*region"):
        train("data=csv", f"data.path={people}", "data.target=repaid", "task.slices=[regoin]", "model=linear")


class NoColumns(DataModule):
    def read(self) -> None:
        self.splits["train"] = TensorDataset(torch.zeros(4, 1))
        self.fingerprints["train"] = fingerprint_of(b"zeros")


def test_data_without_columns_are_refused() -> None:
    data = NoColumns()
    data.carry(["author"])
    with pytest.raises(UserError, match="`NoColumns` keeps no column 'author'"):
        data.prepare_data()


def test_ranks_add_up_to_what_one_process_measures(run: lantu.Result) -> None:
    task, rows = run.module, np.arange(60)
    slices = {"region": run.data.slice_values("test", "region")}
    x, y = run.data.splits["test"].__getitems__(rows.tolist())  # type: ignore[attr-defined]
    with torch.no_grad():
        output = task(x)

    def measured(parts: list[np.ndarray]) -> dict[str, float]:
        metrics = SliceMetrics({"own": task.metrics["test_"]}, slices)  # type: ignore[dict-item]
        sums = []
        for part in parts:
            rank = SliceMetrics({"own": task.metrics["test_"]}, slices)  # type: ignore[dict-item]
            rank.update(task, select(output, part), select(y, part), part.tolist())
            sums.append(collect(rank))
        restore(metrics, reduce(metrics, sums))
        return {name: float(value) for name, value in metrics.compute().items()}

    north = np.flatnonzero(run.data.carried_values("test", "region").to_numpy()[:60] == "north")
    apart = [north, np.setdiff1d(rows, north)]  # one rank has no example of two slices
    assert measured(apart) == pytest.approx(measured([rows]), nan_ok=True)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "", None, "b"], ["a", "b", OTHER, MISSING]),
        ([f"1.{number:03},5" for number in range(40)], ["below 1010.25", "1010.25 to 1020", "1020 to 1029.75"]),
        ([f"2024-01-{day:02}" for day in range(1, 29)], ["below 2024-01-07", "2024-01-07 to 2024-01-14"]),
        ([10, 9, 2], ["2", "9", "10"]),
        ([f"name {number}" for number in range(30)], ["name 0", "name 1"]),
        ([0] * 90 + list(range(1, 21)), ["0", "1"]),
    ],
)
def test_slices_are_values_or_quarters(values: list[object], names: list[str]) -> None:
    training = pd.Series(values)
    found = Slices.of(training).divide(training)
    assert list(found.categories[: len(names)]) == names
    assert len(found) == len(values)
    assert not found.isna().any()


def test_values_that_training_lacks_are_one_slice() -> None:
    found = Slices.of(pd.Series(["a", "b"])).divide(pd.Series(["b", "c", None]))
    assert list(found) == ["b", OTHER, MISSING]


def test_outputs_of_any_shape_are_selected_by_example() -> None:
    output = {"boxes": [torch.ones(2, 4), torch.zeros(0, 4)], "scores": torch.tensor([0.1, 0.9])}
    chosen = select(output, np.array([1]))
    assert chosen["boxes"][0].shape == (0, 4)
    assert chosen["scores"].tolist() == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (
            pd.Series(pd.date_range("2024-01-01 00:00", periods=101, freq="6min").strftime("%Y-%m-%d %H:%M:%S")),
            ["below 2024-01-01 02:30:00", "2024-01-01 02:30:00 to 2024-01-01 05:00:00",
             "2024-01-01 05:00:00 to 2024-01-01 07:30:00", "2024-01-01 07:30:00 and above"],
        ),
        (
            pd.Series(10_000_000.0 + np.arange(101)),
            ["below 10000025", "10000025 to 10000050", "10000050 to 10000075", "10000075 and above"],
        ),
    ],
)  # fmt: skip
def test_slices_close_to_each_other_have_names_that_tell_them_apart(values: pd.Series, names: list[str]) -> None:
    counts = Slices.of(values).divide(values).value_counts()
    assert counts[:4].to_dict() == dict(zip(names, (25, 25, 25, 26), strict=True))
