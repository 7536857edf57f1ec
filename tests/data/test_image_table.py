"""Pictures whose labels stand in a table."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lantu.data import ImageDataModule, image_table
from lantu.data.labels import Numbers
from lantu.errors import UserError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty pictures of twenty patients, and a table beside them."""
    rows = []
    for number in range(60):
        name = f"{number:03}.png"
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
        (tmp_path / "pictures" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / str(number % 3) / name)
        label = ("ill", "well")[number // 3 % 2]
        rows.append((name, label, f"p{number // 3}", f"{number * 1.5}", ("train", "Test")[number % 2]))
    frame = pd.DataFrame(rows, columns=["file_name", "finding", "patient", "age", "set"])
    frame.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def module(table: Path, *, target: str = "finding", **options: Any) -> ImageDataModule:
    given = {name: options.pop(name) for name in ("folder", "file", "part") if name in options}
    made = ImageDataModule(
        source=lambda: image_table(str(table), **given), target=target, cache=str(table.parent / "cache"), **options
    )
    made.setup("fit")
    return made


def test_files_are_found_below_the_table_and_targets_in_it(table: Path) -> None:
    made = module(table)
    assert made.spec["class_names"] == ["well", "ill"]
    assert sum(made.report.sizes.values()) == 60
    x, y = made.splits["train"].__getitems__([0])  # type: ignore[attr-defined]
    assert x.shape == (1, 1, 8, 8)
    assert int(y) == 1


def test_files_without_their_ending_are_found(table: Path) -> None:
    rows = pd.read_csv(table)
    rows["file_name"] = rows["file_name"].str.removesuffix(".png")
    rows.to_csv(table, index=False)
    assert sum(module(table).report.sizes.values()) == 60


def test_numbers_are_a_regression(table: Path) -> None:
    assert module(table, target="age", task="auto").spec["task"] == "regression"


def test_patients_stay_in_one_part_also_in_folds(table: Path) -> None:
    patients = pd.read_csv(table)["patient"].to_numpy()
    for options in ({}, {"fold": 1, "folds": 4}):
        made = module(table, group="patient", duplicates="keep", **options)
        members = {name: set(patients[part.rows]) for name, part in made.splits.items()}  # type: ignore[attr-defined]
        assert len(set.union(*members.values())) == sum(map(len, members.values()))


def test_a_column_names_the_parts(table: Path) -> None:
    sizes = module(table, part="set", split={"val": 0.2}).report.sizes
    assert sizes == {"train": 24, "val": 6, "test": 30}


def test_missing_files_are_counted_and_named(table: Path) -> None:
    (table.parent / "pictures" / "0" / "003.png").unlink()
    said = "\n".join(module(table).report.lines())
    assert "1 picture that could not be read left out" in said
    assert "003.png (there is no such file)" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file": "fil_name"}, r"`data\.source\.file=fil_name`.*file_name"),
        ({"folder": "/no/such"}, r"`data\.source\.folder=/no/such`"),
        ({"part": "sets"}, r"`data\.source\.part=sets`.*set"),
        ({"part": "patient"}, r"'p0' is none of"),
        ({"file": "age"}, r"None of the 60 files"),
    ],
)
def test_a_table_that_does_not_fit_is_a_sentence(table: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        module(table, **options)


def test_a_table_of_new_pictures_gets_an_answer_for_each_row(table: Path) -> None:
    made = module(table)
    (table.parent / "pictures" / "0" / "003.png").write_bytes(b"")
    batches, rows = made.predict_rows(table)
    assert len(rows) == 60
    assert rows["patient"].iloc[4] == "p1"
    assert rows.index[3] == -1
    assert rows["unreadable"].iloc[3] == "the file is empty"
    assert len(batches.dataset) == 59  # type: ignore[arg-type]


def test_targets_that_the_scale_cannot_hold_are_a_sentence(table: Path) -> None:
    rows = pd.read_csv(table)
    rows.loc[7, "age"] = -1e300
    rows.to_csv(table, index=False)
    with pytest.raises(UserError, match=r"`data.target=age` has the value -1e\+300, which is too large"):
        module(table, target="age")
    learned = Numbers.of(pd.Series([1.0, 2.0, 3.0], name="age"))
    assert learned.encode(pd.Series([2.0, 1e38])).isfinite().all()
    with pytest.raises(UserError, match=r"1e\+300, which is too large"):
        learned.encode(pd.Series([2.0, 1e300]))
