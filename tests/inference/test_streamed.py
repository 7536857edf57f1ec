"""A table larger than memory is predicted some rows at a time, with the answers that the whole file gets."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lantu
from lantu.config.build import build
from lantu.errors import UserError
from lantu.inference import streamed
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.inference.streamed import Job, run
from tests.conftest import SHORT
from tests.serving.test_export import TRAINER


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, own_data: dict[str, list[str]]) -> Path:
    root = tmp_path_factory.mktemp("streamed")
    options = [*SHORT, "++callbacks.figures=null", "test=false", "save_model=false", *own_data["csv"]]
    found = lantu.run(lantu.compose(f"paths.root={root}", "data=csv", "model=mlp", *options)).best_checkpoint
    assert found is not None
    return found


@pytest.fixture(scope="module")
def people(own_data: dict[str, list[str]]) -> pd.DataFrame:
    """With a column that is a number in the first rows alone, and one of codes."""
    rows = pd.read_csv(own_data["csv"][0].partition("=")[2]).drop(columns="repaid")
    rows["ticket"] = [str(number) if number < 120 else f"A{number}" for number in range(len(rows))]
    rows["branch"] = [f"{number % 7:03d}" for number in range(len(rows))]
    rows["visits"] = range(len(rows))
    return rows


def job(checkpoint: Path, table: Path, output: Path, **options: Any) -> Job:
    return Job(checkpoint, table, output, **{"rows": 60, "trainer": TRAINER, **options})


def whole(checkpoint: Path, table: Path) -> pd.DataFrame:
    return predict(rebuild(checkpoint), build(TRAINER), table)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-6, rtol=0)
    kinds = [[column.dtype.kind in "iuf" for _, column in each.items()] for each in (found, expected)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_rows_predicted_in_parts_are_those_of_the_whole_file(
    checkpoint: Path, people: pd.DataFrame, tmp_path: Path, ending: str
) -> None:
    table = tmp_path / f"people{ending}"
    if ending == ".csv":
        people.to_csv(table, index=False, sep=";")
    elif ending == ".jsonl":
        people.to_json(table, orient="records", lines=True)
    else:
        people.to_parquet(table)
    expected = whole(checkpoint, table)
    assert run(job(checkpoint, table, tmp_path / "out.parquet")) == (200, 0)
    same(pd.read_parquet(tmp_path / "out.parquet"), expected)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_what_was_cut_off_is_resumed_and_finished_parts_are_not_predicted_again(
    checkpoint: Path, people: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, output = tmp_path / "people.csv", tmp_path / "out.csv"
    people.to_csv(table, index=False)
    predicted: list[str] = []
    real = streamed._predict_part

    def cut_off(chunk: Path, folder: Path, number: int) -> None:
        if number == 2 and not predicted.count("resumed"):
            raise KeyboardInterrupt
        predicted.append(str(number))
        real(chunk, folder, number)

    monkeypatch.setattr(streamed, "_predict_part", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(job(checkpoint, table, output))
    assert not output.exists()
    with pytest.raises(UserError, match="another rows_at_once"):
        run(job(checkpoint, table, output, rows=50))
    predicted.append("resumed")
    assert run(job(checkpoint, table, output)) == (200, 2)
    assert predicted == ["0", "1", "resumed", "2", "3"]
    expected = whole(checkpoint, table)
    found = pd.read_csv(output, dtype={"branch": str})
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert found["branch"].tolist() == expected["branch"].tolist()


@pytest.mark.slow
def test_several_processes_write_what_one_writes(checkpoint: Path, people: pd.DataFrame, tmp_path: Path) -> None:
    table = tmp_path / "people.parquet"
    people.to_parquet(table)
    for workers in (1, 2):
        run(job(checkpoint, table, tmp_path / f"{workers}.jsonl", workers=workers))
    one, two = ([json.loads(line) for line in (tmp_path / f"{n}.jsonl").read_text().splitlines()] for n in (1, 2))
    assert one == two
    assert len(one) == 200


def test_what_cannot_be_cut_is_refused_with_a_sentence(checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "long.csv"
    table.write_text("age,income,home\n" + "31,2000,rent\n" * 150 + "31,2000,rent,9,9\n")
    with pytest.raises(UserError, match="more fields than the header"):
        run(job(checkpoint, table, tmp_path / "out.parquet"))
    with pytest.raises(UserError, match="ends in one of"):
        run(job(checkpoint, table, tmp_path / "out.txt"))
    with pytest.raises(UserError, match="is for tables"):
        run(job(checkpoint, tmp_path, tmp_path / "out.parquet"))
