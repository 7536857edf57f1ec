"""What a run answered is read whole and unchanged, or refused in a sentence; a comparison says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantu.compare.reading.prediction_files import read_predictions as of_runs
from lantu.compare.reading.run_frames import Runs
from lantu.errors import UserError
from lantu.prediction_file import read_predictions, write_predictions


def table(rows: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(0)
    answers = random.choice(["no", "yes", "Größe"], rows)
    return pd.DataFrame(
        {"row": range(rows), "target": answers, "prediction": answers, "loss": random.normal(size=rows) ** 2}
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    frame = table().assign(score=np.float32(0.5), found=[[1, 2]] * 40, name=[None, "a"] * 20)
    frame.attrs["weights"] = "abc"
    write_predictions(frame, tmp_path / "val.parquet")
    found = read_predictions(tmp_path / "val.parquet")
    assert found.attrs["weights"] == "abc"
    pd.testing.assert_frame_equal(found[["row", "loss"]], frame[["row", "loss"]])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("predictions") / "val.parquet"
    write_predictions(table(), path)
    return path.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_flipped_byte_changes_no_answer(
    place: float, mask: int, written: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(written)
    damaged[int(place * len(damaged))] ^= mask
    path = tmp_path_factory.getbasetemp() / "flipped.parquet"
    path.write_bytes(bytes(damaged))
    try:
        found = read_predictions(path)
    except UserError:
        return  # a sentence, which the tests below look at
    assert found.equals(table())


@pytest.mark.parametrize("changed", ["labels", "rows", "numbers as text", "numbered twice", "column"])
def test_a_file_that_was_changed_afterwards_is_left_out_and_said(changed: str, written: bytes, tmp_path: Path) -> None:
    runs = ["one", "two"]
    for run in runs:
        (tmp_path / run / "predictions").mkdir(parents=True)
        (tmp_path / run / "predictions" / "val.parquet").write_bytes(written)
    path = tmp_path / "two" / "predictions" / "val.parquet"
    frame = pd.read_parquet(path)
    attributes = frame.attrs
    frame = {
        "labels": frame.assign(target=frame["target"].to_numpy()[::-1]), "rows": frame.head(12),
        "numbers as text": frame.assign(loss="x"), "numbered twice": frame.assign(row=0),
        "column": frame.drop(columns="target"),
    }[changed]  # fmt: skip
    frame.attrs = attributes
    frame.to_parquet(path, index=False)
    tags = pd.DataFrame({"lantu.run_dir": [str(tmp_path / run) for run in runs]}, index=runs)
    score = pd.Series(1.0, index=runs)
    empty = pd.DataFrame(index=runs)
    compared = Runs(empty, empty, {}, empty, score, tags, score)
    found, damaged = of_runs(compared, pd.Series(["a", "b"], index=runs), ["a", "b"], split="val", tracking_uri=None)
    assert [*found] == ["a"]
    assert [str(path) in each for each in damaged] == [True]


def test_numbers_are_not_compared_with_words_or_dates(tmp_path: Path) -> None:
    for target in (["a", "b"], pd.to_datetime(["2020-01-01", "2021-01-01"])):
        write_predictions(pd.DataFrame({"target": target, "prediction": [1.0, 2.0]}), tmp_path / "test.parquet")
        with pytest.raises(UserError, match="hold things of different kinds"):
            read_predictions(tmp_path / "test.parquet")
