"""A table larger than memory is predicted some rows at a time, with the answers that the whole file gets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lantu
from lantu import extras
from lantu.config.build import build
from lantu.errors import UserError
from lantu.inference import streamed
from lantu.inference.arguments import check_workers
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.inference.streamed import Job, _predict_here, _prepare, run
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
    real = streamed.predict_part

    def cut_off(chunk: Path, folder: Path, number: int) -> None:
        if number == 2 and not predicted.count("resumed"):
            raise KeyboardInterrupt
        predicted.append(str(number))
        real(chunk, folder, number)

    monkeypatch.setattr(streamed, "predict_part", cut_off)
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


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_ray_cluster_resumes_what_was_cut_off_with_the_answers_of_one_process(
    checkpoint: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray", reason="needs Ray, which is not installed")
    from lantu.ray_cluster import connect

    table = tmp_path / "people.csv"
    people.to_csv(table, index=False, sep=";")
    given = job(checkpoint, table, tmp_path / "ray.parquet", workers="ray")
    _prepare(given)
    _predict_here(job(checkpoint, table, tmp_path / "ray.parquet"), {1, 3})  # all but these
    connect(None, {"num_cpus": 1})
    try:
        assert run(given) == (200, 2)
    finally:
        ray.shutdown()
    run(job(checkpoint, table, tmp_path / "here.parquet"))
    found, expected = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("ray", "here"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.slow  # importing Ray Data takes seconds
@pytest.mark.xdist_group("ray")
def test_a_table_that_a_worker_of_ray_cannot_cut_is_a_sentence_for_the_user(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray, which is not installed")
    from lantu.inference.on_ray import _cut, _keep

    table = tmp_path / "broken.csv"
    table.write_text("age,income,home\n" + "31,2000,rent\n" * 150 + "31,2000,rent,9,9\n")
    parts = list(_cut({"table": [table], "rows": [60], "done": [[0]]}))
    assert [int(each["number"][0]) for each in parts] == [1, -1]
    with pytest.raises(UserError, match="more fields than the header"):
        _keep({name: value[0] for name, value in parts[-1].items()}, tmp_path)


def test_workers_that_cannot_be_used_are_refused_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="a number of processes, at least 1, or `ray`"):
        check_workers("four", 100)
    with pytest.raises(UserError, match="add `rows_at_once=100000`"):
        check_workers(4, None)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package ray: install it with `pip install 'lantu\[ray\]'`"):
        check_workers("ray", 100)


def test_what_parts_have_to_say_is_said_once_of_the_whole_table(
    checkpoint: Path, people: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = people.select_dtypes("number").columns[0]
    strange = people.astype({number: "object"})
    strange.loc[[3, 65, 66, 130], number] = ["old", "older", "old", "oldest"]
    strange.to_csv(tmp_path / "strange.csv", index=False)
    run(job(checkpoint, tmp_path / "strange.csv", tmp_path / "out.csv"))
    said = [line for line in capsys.readouterr().err.splitlines() if "not numbers" in line]
    assert said == [f"lantu: `{number}`: 4 of {len(people):,} values are not numbers ('old'), treated as missing"]


def test_a_part_that_cannot_be_read_is_named_by_its_number(
    checkpoint: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    table = tmp_path / "t.jsonl"
    people.to_json(table, orient="records", lines=True)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:70], '{"age": [1, ', *lines[70:]]))
    with pytest.raises(UserError, match=r"^part 2 of the table cannot be read as a table"):
        run(job(checkpoint, table, tmp_path / "out.csv"))


def test_a_full_disk_leaves_the_parts_that_are_finished_and_nothing_else(
    checkpoint: Path, people: pd.DataFrame, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    table, folder = tmp_path / "people.parquet", mounted("size=64k")
    people.to_parquet(table)
    with pytest.raises(OSError, match=r"No space left|Errno 28"):
        run(job(checkpoint, table, folder / "some.csv", rows=20))
    left = sorted(each.name for each in (folder / ".some.csv.parts").iterdir() if each.is_file())
    assert left[-1] == "state.json"
    assert left[:-1] == [f"{n:06d}.{end}" for n in range(len(left) // 2) for end in ("json", "parquet")]
    (folder / "fill").write_bytes(bytes((shutil.disk_usage(folder).free // 4096) * 4096))
    with pytest.raises(OSError, match=r"No space left|Errno 28"):
        run(job(checkpoint, table, folder / "none.csv", rows=20))
    assert not (folder / ".none.csv.parts").exists()


def test_what_cannot_be_cut_is_refused_with_a_sentence(checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "long.csv"
    table.write_text("age,income,home\n" + "31,2000,rent\n" * 150 + "31,2000,rent,9,9\n")
    with pytest.raises(UserError, match="more fields than the header"):
        run(job(checkpoint, table, tmp_path / "out.parquet"))
    with pytest.raises(UserError, match="ends in one of"):
        run(job(checkpoint, table, tmp_path / "out.txt"))
    with pytest.raises(UserError, match="is for tables"):
        run(job(checkpoint, tmp_path, tmp_path / "out.parquet"))
