"""Files as strangers write them are read as a careful person would read them, or refused in a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lantu.data import TableDataModule
from lantu.data.csv_rows import read_csv
from lantu.data.table.column import Column
from lantu.data.table.column_values import read_numbers
from lantu.data.table.kinds import kinds_of
from lantu.data.values import numbers
from lantu.errors import UserError

FAULTS = Path(__file__).parents[3] / "shared" / "faults" / "inputs"


def given_file(name: str) -> str:
    if not (FAULTS / name).is_file():
        pytest.skip(f"{name} is not here: it lies in ../shared/faults/inputs, which is no part of the repository")
    return str(FAULTS / name)


def module(path: str | Path, **options: Any) -> TableDataModule:
    made = TableDataModule(path=str(path), **{"split": {"val": 0.1, "test": 0.2}, **options})
    made.setup("fit")
    return made


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path: Path) -> pd.DataFrame:
    return read_csv(path, as_text=True)[0]


def column(texts: list[str]) -> np.ndarray:
    """What a column of texts is read as, once its kind has been found."""
    rows = pd.DataFrame({"x": texts}, dtype="str")
    kind = kinds_of(rows)["x"]
    assert kind.name in ("number", "date"), kind
    how = {"format": kind.format} if kind.name == "date" else {"decimal": kind.decimal, "unit": kind.unit}
    return read_numbers(Column("x", kind.name, "double", **how), rows["x"])


# Rows


@pytest.mark.parametrize("name", ["real_titanic4.csv", "survey.csv"])
def test_people_who_look_alike_are_all_kept_and_counted(name: str) -> None:
    made = module(given_file(name), target="survived")
    assert sum(made.report.sizes.values()) == len(pd.read_csv(given_file(name)))
    assert "validation and test rows equal a training row; all rows are kept" in "\n".join(made.report.lines())


def test_copies_of_a_held_out_row_are_not_trained_on_and_a_large_share_is_a_warning(tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": np.random.default_rng(0).normal(size=200), "y": ["a", "b"] * 100})
    pd.concat([rows, rows.iloc[:80]]).to_csv(tmp_path / "t.csv", index=False)
    made = module(tmp_path / "t.csv", target="y")
    held_out = set(torch.cat([made.splits["val"].x, made.splits["test"].x])[:, 0].tolist())
    assert not held_out & set(made.splits["train"].x[:, 0].tolist())
    assert any("copies of validation or test rows" in sentence for sentence in made.report.warnings)


def test_each_class_with_enough_rows_is_in_every_part(tmp_path: Path) -> None:
    kinds = ["common"] * 394 + ["rare"] * 3 + ["pair"] * 2 + ["single"]
    pd.DataFrame({"x": np.arange(400) * 0.37 % 7, "kind": kinds}).to_csv(tmp_path / "t.csv", index=False)
    for seed in range(5):
        counts = module(tmp_path / "t.csv", target="kind", split_seed=seed).report.classes
        assert [counts[part]["rare"] for part in ("train", "val", "test")] == [1, 1, 1]
        assert [counts[part]["pair"] for part in ("train", "test")] == [1, 1]
        assert counts["train"]["single"] == 1
        assert {part: sum(each.values()) for part, each in counts.items()} == {"train": 280, "val": 40, "test": 80}


def test_an_empty_part_is_an_error_that_says_what_to_type(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n" + "".join(f"{n}.5,{'ab'[n % 2]}\n" for n in range(6)))
    with pytest.raises(UserError, match=r"data\.split\.\w+=0"):
        module(path, target="y", split={"val": 0.01, "test": 0.01})


def test_a_group_stays_in_one_part(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"patient": random.integers(0, 40, 400), "x": random.permutation(400) * 0.25 - 50})
    rows["y"] = np.where(rows["x"] > 0, "sick", "well")
    rows.to_csv(tmp_path / "t.csv", index=False)
    made = module(tmp_path / "t.csv", target="y", group="patient", numbers="standard")
    assert made.spec["feature_names"] == ["x"]
    assert abs(made.report.sizes["test"] - 80) < 25
    mean, std = made._columns[0].mean, made._columns[0].std
    patient = {round(x, 2): p for x, p in zip(rows["x"], rows["patient"], strict=True)}
    train, val, test = (
        {patient[round(float(x) * std + mean, 2)] for x in made.splits[name].x[:, 0]}
        for name in ("train", "val", "test")
    )
    assert not train & (val | test)
    assert not val & test


def test_a_split_by_time_tests_on_the_newest_rows(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=400).strftime("%d/%m/%Y")
    rows = pd.DataFrame({"day": days, "x": np.arange(400.0) ** 1.1, "y": np.random.default_rng(0).normal(size=400)})
    rows.sample(frac=1, random_state=0).to_csv(tmp_path / "t.csv", index=False)
    made = module(tmp_path / "t.csv", target="y", split="time", time="day")
    train, val, test = (
        made.splits[name].x[:, made.spec["feature_names"].index("x")] for name in ("train", "val", "test")
    )
    assert float(train.max()) < float(val.min()) <= float(val.max()) < float(test.min())
    with pytest.raises(UserError, match=r"data\.time=COLUMN"):
        module(tmp_path / "t.csv", target="y", split="time")


# What columns are


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["3,296.39", "210.5", "1,234,567.00"], [3296.39, 210.5, 1234567.0]),
        (["3296,39", "0,360", "1.234,5"], [3296.39, 0.36, 1234.5]),
        (["0,123", "4,567", "1,000"], [0.123, 4.567, 1.0]),
        (["1,234", "5,678", "12,000"], [1234.0, 5678.0, 12000.0]),
        (["1'234.50", "2\u2019000"], [1234.5, 2000.0]),
        (["1 234,5", "12 000,25", "3,5"], [1234.5, 12000.25, 3.5]),
        (["12.5%", "3%", "100 %"], [12.5, 3.0, 100.0]),
        (["$1,200", "-$35.50", "($4,000)"], [1200.0, -35.5, -4000.0]),
        (["€ 12,50", "1.200,00 €"], [12.5, 1200.0]),
        (["12 kg", "13.5 kg", "9kg"], [12.0, 13.5, 9.0]),
        (["\u22125.5", "1e3", "+7"], [-5.5, 1000.0, 7.0]),
        (["1,00,000", "12,34,567"], [100000.0, 1234567.0]),
    ],
)  # fmt: skip
def test_numbers_are_read_as_a_spreadsheet_reads_them(texts: list[str], values: list[float]) -> None:
    assert column(texts).tolist() == pytest.approx(values)


@pytest.mark.parametrize(
    ("texts", "dates"),
    [
        (["09/17/2020", "03/04/2020"], ["2020-09-17", "2020-03-04"]),
        (["17/09/2020", "03/04/2020"], ["2020-09-17", "2020-04-03"]),
        (["03.04.2020", "1.2.2021"], ["2020-04-03", "2021-02-01"]),
        (["Jun 12 1998", "Aug 07 1998"], ["1998-06-12", "1998-08-07"]),
        (["17-Sep-20", "01-Oct-21"], ["2020-09-17", "2021-10-01"]),
        (["September 3, 2020", "March 10, 2021"], ["2020-09-03", "2021-03-10"]),
        (["2020-01-02T03:00:00Z", "2020-01-02 03:00:00"], ["2020-01-02T03", "2020-01-02T03"]),
        (["2020/09/17", "2021/01/02"], ["2020-09-17", "2021-01-02"]),
        (["1/31/2020 3:30 PM", "2/1/2020 11:00 AM"], ["2020-01-31T15:30", "2020-02-01T11:00"]),
    ],
)  # fmt: skip
def test_dates_are_read_in_the_order_that_the_column_decides(texts: list[str], dates: list[str]) -> None:
    expected = pd.to_datetime(pd.Series(dates), format="ISO8601").astype("datetime64[us]").astype("int64") / 1e6
    assert column(texts).tolist() == expected.tolist()


def test_dates_that_nothing_decides_are_said_and_can_be_turned(tmp_path: Path) -> None:
    lines = "".join(f"0{1 + n % 9}/0{1 + n % 7}/202{n % 4},{n * 0.37 % 5:.2f}\n" for n in range(60))
    path = written(tmp_path, "opened,y\n" + lines)
    said = "\n".join(module(path, target="y").report.lines())
    assert "month first, which no value of the column decides; `data.day_first=true`" in said
    assert "month first" not in "\n".join(module(path, target="y", day_first=True).report.lines())


def test_a_mostly_empty_column_of_numbers_is_one_of_numbers() -> None:
    made = module(given_file("sparse_readings.csv"), target="label")
    assert made.spec["feature_names"] == ["reading", "reading missing", "z"]
    assert torch.isfinite(made.splits["train"].x).all()
    assert any("`reading`" in line and "not numbers ('unknown')" in line for line in made.report.lines())


def test_row_numbers_and_keys_are_left_out_unless_kept(tmp_path: Path) -> None:
    made = module(given_file("withindex.csv"), target="label")
    assert made.spec["feature_names"] == ["a"]
    assert any("numbering or naming the rows" in line and "Unnamed: 0" in line for line in made.report.lines())
    kept = module(given_file("withindex.csv"), target="label", keep=["Unnamed: 0"])
    assert kept.spec["feature_names"] == ["Unnamed: 0", "a"]
    assert any("`Unnamed: 0` alone tells" in sentence for sentence in kept.report.warnings)


def test_a_copy_of_the_target_among_the_inputs_is_a_warning(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"x": random.normal(size=300), "y": random.normal(size=300) * 40 + 1e5})
    rows["in_cents"] = (rows["y"] * 100).round()
    rows.to_csv(tmp_path / "t.csv", index=False)
    (warning,) = module(tmp_path / "t.csv", target="y").report.warnings
    assert warning.startswith("`in_cents` alone tells")
    assert not module(tmp_path / "t.csv", target="y", ignore=["in_cents"]).report.warnings


def test_codes_with_leading_zeros_are_categories() -> None:
    rows = pd.DataFrame({"zip": ["02134", "10001", "94103", "02134"] * 10}, dtype="str")
    assert kinds_of(rows)["zip"].name == "category"


# Later files


def test_later_files_are_read_as_the_training_rows_were(capsys: pytest.CaptureFixture[str]) -> None:
    made = module(given_file("bools.csv"), target="label")
    new = made.examples_of(rows_of(Path(given_file("bools_new.csv")))).x[:, made.spec["feature_names"].index("member")]
    assert new[0] == new[2] != new[1] == new[3]
    made = module(given_file("plain.csv"), target="label")
    rows = rows_of(Path(given_file("plain_new.csv")))
    amounts = made.examples_of(rows).x[:, 0] * made._columns[0].std + made._columns[0].mean
    assert amounts.tolist()[:4] == pytest.approx([12500.0, 150.0, 9900.1, 210.0], rel=1e-4)
    made.examples_of(pd.DataFrame({"amount": ["12", "n/a", "x"]}))
    assert "`amount`: 2 of 3 values are not numbers ('n/a', 'x'), treated as missing" in capsys.readouterr().err


@pytest.mark.parametrize("values", [[True, False], [1, 0], [1.0, 0.0], ["yes", "no"], ["Y", "N"], ["true", "FALSE"]])
def test_booleans_of_any_notation_mean_the_same(tmp_path: Path, values: list[Any]) -> None:
    for training in (["TRUE", "FALSE"], ["1", "0"], ["no", "yes"]):
        lines = "".join(f"{training[n % 2]},{n * 0.7 % 3:.1f},{'ab'[n % 3 == 0]}\n" for n in range(60))
        made = module(written(tmp_path, "flag,x,y\n" + lines), target="y")
        first, second = made.examples_of(pd.DataFrame({"flag": values, "x": [1.0, 1.0]})).x[:, 0].tolist()
        assert first > second


def test_a_later_file_with_the_other_decimal_sign_is_not_misread(capsys: pytest.CaptureFixture[str]) -> None:
    made = module(given_file("eu.csv"), target="Klasse")
    rows = pd.DataFrame({"Betrag": ["1.234", "3296.39"], "z": ["0", "0"]})
    amounts = made.examples_of(rows).x[:, 0] * made._columns[0].std + made._columns[0].mean
    assert amounts.tolist() == pytest.approx([1.234, 3296.39], abs=1e-2)
    assert "read with a decimal point, unlike in training" in capsys.readouterr().err


def test_infinities_are_missing_and_change_no_notation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = "".join(f"{n % 7},{'ab'[n % 2]}\n" for n in range(60))
    made = module(written(tmp_path, "x,y\n" + lines), target="y")
    made.examples_of(pd.DataFrame({"x": ["3", "1e400", "inf"]}))
    said = capsys.readouterr().err
    assert "`x`: 2 of 3 values are not numbers" in said
    assert "decimal" not in said


def test_a_column_of_two_notations_is_said(tmp_path: Path) -> None:
    lines = "".join(f'"{n * 0.37 % 5:.2f}",{"ab"[n % 3 == 0]}\n' for n in range(60))
    mixed = "".join(line.replace(".", ",") if n % 2 else line for n, line in enumerate(lines.splitlines(True)))
    assert any(
        "decimal commas are mixed" in line
        for line in module(written(tmp_path, "x,y\n" + mixed), target="y").report.lines()
    )


def test_unseen_categories_are_counted_and_letter_case_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"{['red', 'Blue', 'green'][n % 3]},{'ab'[n % 2]}\n" for n in range(60))
    made = module(written(tmp_path, "colour,y\n" + lines), target="y")
    x = made.examples_of(pd.DataFrame({"colour": ["RED ", "blue", "mauve"]})).x
    assert x.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert "`colour`: 1 of 3 values are not among the training rows' ('mauve')" in capsys.readouterr().err


# Targets


def test_typing_errors_make_no_classes_and_a_frequent_na_is_one() -> None:
    made = module(given_file("dirty_target.csv"), target="churn")
    assert len(made.spec["class_names"]) == 2
    assert sum(made.report.sizes.values()) == 400
    made = module(given_file("region.csv"), target="region")
    assert made.spec["class_names"] == ["APAC", "EU", "NA"]
    assert sum(made.report.sizes.values()) == 400


@pytest.mark.parametrize(
    ("write", "mean"),
    [(lambda n: f'"{1000 + n:,}"', 1199.5), (lambda n: f"{n / 10}%", 19.95), (lambda n: f'"{n},5"', 200.0)],
)  # fmt: skip
def test_a_target_of_numbers_is_one_however_it_is_written(tmp_path: Path, write: Any, mean: float) -> None:
    path = written(tmp_path, "x,y\n" + "".join(f"{n % 7},{write(n)}\n" for n in range(400)))
    made = module(path, target="y", split={"val": 0.0, "test": 0.0})
    assert made.spec["task"] == "regression"
    assert made.spec["target_mean"][0] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda n: f"name{n}", "too many to be classes"),
        (lambda n: f"{1 + n % 28:02}/{1 + n % 12:02}/20{10 + n % 12}", "holds dates"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_learned_is_refused(tmp_path: Path, write: Any, said: str) -> None:
    path = written(tmp_path, "x,y\n" + "".join(f"{n % 7},{write(n)}\n" for n in range(300)))
    with pytest.raises(UserError, match=said):
        module(path, target="y")


@pytest.mark.parametrize(
    ("names", "counts", "positive"),
    [
        (("no", "yes"), (10, 90), "yes"), (("0", "1"), (10, 90), "1"), (("paid", "default"), (200, 40), "default"),
        (("bad", "good"), (150, 90), "bad"), (("cat", "dog"), (60, 90), "cat"),
        (("not spam", "spam"), (60, 90), "spam"),
    ],
)  # fmt: skip
def test_the_positive_class_follows_the_rules_and_one_override(
    tmp_path: Path, names: tuple[str, str], counts: tuple[int, int], positive: str
) -> None:
    labels = [names[0]] * counts[0] + [names[1]] * counts[1]
    path = written(tmp_path, "x,y\n" + "".join(f"{n * 0.7 % 5:.2f},{label}\n" for n, label in enumerate(labels)))
    made = module(path, target="y")
    assert made.spec["positive_class"] == made.spec["class_names"][1] == positive
    assert any(line.startswith(f"positive class: {positive} (") for line in made.report.lines())
    other = names[names[0] == positive]
    assert module(path, target="y", positive=other).spec["class_names"][1] == other


# Dialects


@pytest.mark.parametrize(
    "text",
    [
        "a;b;y\n1,5;x;yes\n2,5;z;no\n", "a\tb\ty\n1.5\tx\tyes\n2.5\tz\tno\n", "a|b|y\n1.5|x|yes\n2.5|z|no\n",
        "a,b,y,\n1.5,x,yes,\n2.5,z,no,\n", "a,b,y\n1.5,x,yes,\n2.5,z,no,\n", "sep=;\na;b;y\n1,5;x;yes\n2,5;z;no\n",
        "# made by us\n\na,b,y\n1.5,x,yes\n2.5,z,no\n", "Report of May\na,b,y\n1.5,x,yes\n2.5,z,no\n",
        '"a" , "b", "y"\n"1.5", "x", "yes"\n2.5,z,no\n', "a,b,y\r\n1.5,x,yes\r\n2.5,z,no\r\n",
        "a,b,y\n1.5,x,yes\na,b,y\n2.5,z,no\n", "a,,b,,y,,\n1.5,,x,,yes,,\n2.5,,z,,no,,\n",
        "a,b,y\n1.5,x,yes\n2.5,z,no\nTotal: 2 rows\n",
        "\ufeffa,b,y\n1.5,x,yes\n2.5,z,no\n", "a,b,y\n1.5,x,yes\n2.5,z,no\n".encode("utf-16"),
        "a,b,y\n1.5,x,yes\n2.5,z,no\n".encode("utf-16-le"),
    ],
)  # fmt: skip
def test_a_table_is_the_same_in_every_dialect(tmp_path: Path, text: str | bytes) -> None:
    rows = rows_of(written(tmp_path, text))
    assert list(rows.columns) == ["a", "b", "y"]
    assert rows["b"].tolist() == ["x", "z"]
    assert rows["y"].tolist() == ["yes", "no"]
    decimal = kinds_of(rows)["a"].decimal
    assert numbers(rows["a"], decimal=decimal).tolist() == [1.5, 2.5]


def test_an_encoding_that_is_not_utf8_is_found_and_said(tmp_path: Path) -> None:
    text = "city,y\n" + "Köln,ja\nMünchen,nein\nDüsseldorf,ja\nGießen,nein\n" * 10
    rows, _, notes = read_csv(written(tmp_path, text.encode("cp1252")), as_text=True)
    assert rows["city"][:2].tolist() == ["Köln", "München"]
    assert "not UTF-8" in notes[0]


def test_a_trailing_separator_shifts_no_column() -> None:
    made = module(given_file("trailing.csv"), target="bought")
    reference = pd.read_csv(given_file("trailing.csv"), index_col=False)
    assert made.spec["feature_names"] == ["age", "visits"]
    assert sum(made.report.classes[part]["1"] for part in made.splits) == int(reference["bought"].sum())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a, a,y\n1,2,3\n", "names more than one column"), ("5.1,3.5,s\n4.9,3.0,s\n4.7,3.2,s\n", "has no header"),
        ("a,b\n1,2,3\n4,5,6\n4,5,7\n", "2 names and the rows have 3 fields"), ("\n\n", "empty"),
        ("a,b\n", "without rows"), ("a,b\n1,\x00\n", "NUL characters"),
    ],
)  # fmt: skip
def test_a_header_that_names_nothing_or_twice_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        rows_of(written(tmp_path, text))


def test_row_names_of_r_are_a_column_without_a_name(tmp_path: Path) -> None:
    rows = rows_of(written(tmp_path, '"a","y"\n"one",1.5,"yes"\n"two",2.5,"no"\n"three",3.5,"no"\n'))
    assert list(rows.columns) == ["Unnamed: 0", "a", "y"]


TEXTS = st.text("abcdefghij ßé,;|\t\"'", min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.tuples(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), TEXTS), min_size=8, max_size=30),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    comma=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_any_table_written_in_a_dialect_is_read_back_equal(  # noqa: PLR0917
    tmp_path: Path, values: list[tuple[float, str]], separator: str, comma: bool, encoding: str, ending: str
) -> None:
    decimal = "," if comma and separator != "," else "."
    frame = pd.DataFrame(values, columns=["amount", "label"]).assign(flag=(["yes", "no", "no"] * 10)[: len(values)])
    path = tmp_path / "t.csv"
    # every text is quoted, so that a table has one reading
    frame.to_csv(path, index=False, sep=separator, decimal=decimal, encoding=encoding, lineterminator=ending, quoting=2)
    rows = rows_of(path)
    assert list(rows.columns) == ["amount", "label", "flag"]
    assert numbers(rows["amount"], decimal=decimal).tolist() == frame["amount"].tolist()
    assert rows["label"].tolist() == frame["label"].tolist()
