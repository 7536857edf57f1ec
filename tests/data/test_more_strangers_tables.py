"""Further tables of strangers: rare separators, padded titles, nested values, compressed files, values out of range."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lantu.data.cleaning_report import Report
from lantu.data.csv_rows import read_csv
from lantu.data.dates import seconds
from lantu.data.read_table import read_table, read_table_with_notes
from lantu.data.table.column import Column
from lantu.data.table.encode_columns import encode, encode_column
from lantu.data.table.row_encoder import RowEncoder
from lantu.data.table.rows import TableReport
from lantu.data.targets import warn_of_far
from lantu.data.values import number
from lantu.errors import UserError
from lantu.notices import collected

GZIPPED = gzip.compress(b"a,y\n1,2\n", mtime=0)  # the time of day would be part of the tests' names
VALUES = [(round(0.37 * n - 3, 2), n % 3, ("yes", "no")[n * 7 % 11 % 2]) for n in range(60)]


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def report(path: Path, target: str = "y") -> TableReport:
    found = TableReport(path=str(path), target=target)
    found.examine()
    return found


def kinds(found: TableReport) -> dict[str, str]:
    return {each["name"]: each["kind"] for each in found.report.columns}


@pytest.mark.parametrize(
    ("separator", "named"), [("^", "carets"), ("~", "tildes"), (":", "colons"), (" ", "spaces"), ("   ", "spaces")]
)
def test_a_rare_separator_is_found_and_said(separator: str, named: str, tmp_path: Path) -> None:
    lines = [separator.join(map(str, row)) for row in [("a", "b", "y"), *VALUES]]
    rows, bad, notes = read_csv(written(tmp_path, "\n".join(lines) + "\n"), as_text=True)
    assert list(rows.columns) == ["a", "b", "y"]
    assert rows["y"].tolist() == [row[2] for row in VALUES]
    assert (bad, notes) == (0, [f"columns are separated by {named}"])


@pytest.mark.parametrize("text", [",,\n,,\n", ";;\n", ' , ,""\n'])
def test_a_table_of_separators_alone_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="separators and nothing between"):
        read_csv(written(tmp_path, text), as_text=True)


@pytest.mark.parametrize(
    "text", ["text\nit was a bad film\nit was a good film\nwe saw the last film\n", "at\n10:20\n11:30\n12:40\n"]
)
def test_words_and_times_of_a_single_column_are_not_cut(text: str, tmp_path: Path) -> None:
    assert read_csv(written(tmp_path, text), as_text=True)[0].shape == (3, 1)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_titles_that_a_spreadsheet_padded_are_passed_over(separator: str, tmp_path: Path) -> None:
    pad = separator * 2
    body = "".join(separator.join(map(str, row)) + "\n" for row in VALUES)
    text = f"{pad}\nSales of 2024{pad}\n{pad}\n{separator.join('aby')}\n{body}Total{pad}\n"
    rows, _, notes = read_csv(written(tmp_path, text), as_text=True)
    assert list(rows.columns) == ["a", "b", "y"]
    assert any("above the header passed over" in note for note in notes)


def test_a_mostly_empty_table_keeps_its_header(tmp_path: Path) -> None:
    body = "".join(f"{a},,,,{y}\n" for a, _, y in VALUES)
    rows = read_csv(written(tmp_path, f"a,b,c,d,y\n{body}"), as_text=True)[0]
    assert (list(rows.columns), len(rows)) == (["a", "b", "c", "d", "y"], len(VALUES))


def test_lists_and_mappings_of_json_lines_and_parquet_are_left_out_and_said(tmp_path: Path) -> None:
    records = [{"a": a, "tags": ["x", "y"], "more": {"k": b}, "y": y} for a, b, y in VALUES]
    lines = written(tmp_path, "".join(json.dumps(each) + "\n" for each in records), "t.jsonl")
    pd.DataFrame(records).assign(raw=b"ab", took=pd.to_timedelta(range(60), unit="h")).to_parquet(
        tmp_path / "t.parquet"
    )
    for path, left_out in ((lines, "tags, more"), (tmp_path / "t.parquet", "tags, more, raw")):
        found = report(path)
        assert kinds(found)["tags"] == kinds(found)["more"] == "nested"
        assert any(f"left out: {left_out}" in line for line in found.report.lines())
    assert kinds(found)["took"] == "number"
    assert read_table(tmp_path / "t.parquet", as_text=True)[0]["took"].tolist()[:3] == [0, 3600, 7200]


def test_dates_in_two_notations_are_said(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=60, freq="37h")
    texts = [f"{day:%d/%m/%Y}" if n % 2 else f"{day:%Y-%m-%d}" for n, day in enumerate(days)]
    body = "".join(f"{text},{row[0]},{row[2]}\n" for text, row in zip(texts, VALUES, strict=True))
    found = report(written(tmp_path, f"day,a,y\n{body}"))
    said = "\n".join(found.report.lines())
    assert "`day`: dates are written in several ways" in said
    assert "day" not in {each["name"] for each in found.learned["columns"]}


def test_a_category_whose_values_are_all_rare_is_left_out_and_said(tmp_path: Path) -> None:
    body = "".join(f"{n // 4 * 1.5 + 1:.1f}{'kM'[n % 2]},{n % 5},{'yn'[n * 7 % 11 % 2]}\n" for n in range(300))
    found = report(written(tmp_path, f"size,a,y\n{body}"))
    assert any("no value occurs 5 times: size" in line for line in found.report.lines())


def test_exponents_decide_their_decimal_sign(tmp_path: Path) -> None:
    body = "".join(f"{a:.3E},{y}\n" for a, _, y in VALUES)
    assert "is read as" not in "\n".join(report(written(tmp_path, f"a,y\n{body}")).report.lines())


def test_values_of_any_magnitude_become_finite_features_in_every_path(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    body = "".join(f"{10.0 ** int(rng.integers(-300, 300))},{a},{y}\n" for a, _, y in VALUES * 3)
    found = report(written(tmp_path, f"wide,a,y\n{body}"))
    learned = [Column(**each) for each in found.learned["columns"]]
    assert any("`wide`: values of too many magnitudes" in line for line in found.report.lines())
    later = pd.DataFrame({"wide": ["1e300", "-1e300", "5"], "a": ["1e300", "-1e308", "2"]}, dtype="str")
    encoded = encode(later, learned)
    assert np.isfinite(encoded).all()
    assert encoded[:, 0].std() > 0
    one_by_one = [RowEncoder(learned).encode(row) for row in later.to_dict("records")]
    np.testing.assert_array_equal(np.stack(one_by_one), encoded)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv.gz", GZIPPED, "gunzip -k"), ("t.csv", GZIPPED, "compressed"),
        ("t.csv", b"PK\x03\x04" + bytes(40), "zip archive or a spreadsheet"), ("t.json", b"[]", "jq -c"),
        ("t.csv", b"PAR1" + bytes(40), "ends in .parquet"), ("t.csv", b"SQLite format 3\0", "a database"),
        ("t.xlsx", b"PK\x03\x04", "save its table as CSV"), ("t.csv", b"%PDF-1.7\n", "a PDF file"),
    ],
)  # fmt: skip
def test_files_of_other_kinds_are_named_with_what_to_do(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read_table_with_notes(written(tmp_path, content, name), as_text=True)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> list[Column]:
    """Of ages, a code with leading zeros, and a city, none of them ever missing."""
    cities = ("Bonn", "Ulm", "Kiel")
    body = "".join(f"{20 + n % 50},{n % 9 * 13:04d},{cities[n % 3]},{'yn'[n % 7 % 2]}\n" for n in range(300))
    path = written(tmp_path_factory.mktemp("ages"), f"age,code,city,y\n{body}")
    return [Column(**each) for each in report(path).learned["columns"]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"age": [None, None, "3"]}, "`age`: 2 of 3 values are missing, as none was in training"),
        ({"age": ["1e300", "30", "40"]}, "`age`: 1 of 3 values, such as 1e+300, are more than 1,000,000 standard"),
        ({"city": ["Bonn", None, "Ulm"]}, "`city`: 1 of 3 values are missing"),
        ({"city": ["Paris", "Bonn", "Ulm"]}, "`city`: 1 of 3 values are not among the training rows' ('Paris')"),
        ({"age": ["old", "30", "40"]}, "`age`: 1 of 3 values are not numbers ('old')"),
    ],
)
def test_what_a_later_file_has_and_training_had_not_is_said(
    changed: dict[str, list[str | None]], said: str, learned: list[Column]
) -> None:
    rows = pd.DataFrame({"age": ["20", "30", "40"], "code": ["0013", "0026", "0000"], "city": ["Bonn", "Ulm", "Kiel"]})
    heard: list[str] = []
    encode(rows.assign(**changed), learned, heard.append)
    assert [line for line in heard if said in line]
    assert len(heard) == 1


def test_a_later_file_with_lists_in_a_column_is_a_sentence(learned: list[Column]) -> None:
    rows = pd.DataFrame({"age": [20, 30], "code": ["0013", "0026"], "city": [None, np.array([1, 2])]})
    with pytest.raises(UserError, match=r"`city` holds a list, a mapping or bytes in a cell, such as \[1 2\]"):
        encode(rows, learned)


def test_codes_whose_zeros_a_spreadsheet_cut_off_are_the_same(learned: list[Column]) -> None:
    whole = pd.DataFrame({"age": "20", "code": ["0013", "0026", "0000", "0104"], "city": "Ulm"})
    cut = whole.assign(code=[13, 26, 0, 104])
    heard: list[str] = []
    np.testing.assert_array_equal(encode(cut, learned, heard.append), encode(whole, learned))
    assert not heard
    encoder = RowEncoder(learned)
    for row, full in zip(cut.to_dict("records"), whole.to_dict("records"), strict=True):
        np.testing.assert_array_equal(encoder.encode(row), encoder.encode(full))


def test_a_column_of_rare_values_says_when_a_later_file_has_hardly_any_known_ones(tmp_path: Path) -> None:
    body = "".join(f"{'k' * (n % 120 % 60)}{n % 120},{n % 5},{'yn'[n % 7 % 2]}\n" for n in range(1200))
    found = report(written(tmp_path, f"code,a,y\n{body}"))
    (column,) = [Column(**each) for each in found.learned["columns"] if each["name"] == "code"]
    heard: list[str] = []
    encode_column(column, pd.Series(["zz", "yy", "xx"]), heard.append)
    assert "3 of 3 values are not among the training rows'" in heard[0]


def test_a_column_with_outliers_is_standardised_and_ranked_in_every_path(tmp_path: Path) -> None:
    body = "".join(f"{n % 17},{1000 if n % 60 == 7 else n % 13},{'yn'[n % 7 % 2]}\n" for n in range(200))
    found = TableReport(path=str(written(tmp_path, f"plain,skewed,y\n{body}")), target="y", numbers="auto")
    found.examine()
    learned = [Column(**each) for each in found.learned["columns"]]
    assert [name for each in learned for name in each.features] == ["plain", "skewed", "skewed rank"]
    later = pd.DataFrame({"plain": ["1", "16"], "skewed": ["1000", "3"]}, dtype="str")
    encoded = encode(later, learned)
    assert abs(encoded[:, 2]).max() < 3 < encoded[0, 1]
    one_by_one = [RowEncoder(learned).encode(row) for row in later.to_dict("records")]
    np.testing.assert_array_equal(np.stack(one_by_one), encoded)


@pytest.mark.parametrize(
    "above",
    ['a,"b\nin m",y\n', '"a\n\nage","b\nin m",y\n', 'Height 5" report\n\na,b,y\n', 'Report\r\n5" and 6"\r\na,b,y\r\n'],
)
def test_a_quote_or_a_line_break_above_the_rows_hides_no_row(above: str, tmp_path: Path) -> None:
    text = above + "".join(",".join(map(str, row)) + "\n" for row in VALUES)
    rows, bad, _ = read_csv(written(tmp_path, text), as_text=True)
    assert (len(rows), bad) == (len(VALUES), 0)
    assert rows.iloc[:, 2].tolist() == [row[2] for row in VALUES]


def test_an_exponent_stands_behind_a_decimal_sign() -> None:
    assert number("4,959e+01", ",") == 49.59
    assert np.isnan(number("4,959e+01", "."))
    assert np.isnan(number("4.959e+01", ","))


def test_a_time_zone_in_words_is_read(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=60, freq="37h")
    text = "t,u,y\n" + "".join(f"{t} UTC,{t:%m/%d/%Y %H:%M} GMT,{'ab'[n % 2]}\n" for n, t in enumerate(times))
    found = report(written(tmp_path, text))
    assert kinds(found) == {"t": "date", "u": "date"}
    first = Column(**found.learned["columns"][0])
    assert seconds(pd.Series([f"{times[3]} UTC"]), first.format)[0] == times[3].timestamp()


@pytest.mark.parametrize(("mark", "warned"), [("-999", True), ("9999", True), ("99", False), ("-1", False)])
def test_a_number_that_may_stand_for_a_missing_value_is_a_warning(mark: str, warned: bool, tmp_path: Path) -> None:
    values = [mark if n % 20 == 3 else str(20 + n % 81) for n in range(100)]
    text = "age,z,y\n" + "".join(f"{v},{n * 37 % 101},{'ab'[n % 2]}\n" for n, v in enumerate(values))
    said = [line for line in report(written(tmp_path, text)).report.lines() if "stands for a missing value" in line]
    assert bool(said) == warned
    assert not warned or said[0].startswith("warning: `age`: ")


@pytest.mark.parametrize(
    ("far", "said"),
    [
        ([1e30], "one row has 1e+30, and the others lie between 20 and 100"),
        ([1e30, -1e12], "2 rows have values such as 1e+30, and the others"),
        ([250.0, -40.0], ""),
    ],
)
def test_targets_beside_which_all_others_are_alike_are_a_warning(far: list[float], said: str, tmp_path: Path) -> None:
    targets = [*far, *(20 + n % 81 for n in range(100))]
    text = "x,y\n" + "".join(f"{n * 37 % 50},{y!r}\n" for n, y in enumerate(targets))
    found = report(written(tmp_path, text)).report.warnings
    assert [said in line for line in found if line.startswith("`y`: ")] == [True] * bool(said)


@pytest.mark.parametrize("draw", ["standard_normal", "exponential", "lognormal", "zeros and prices"])
def test_ordinary_heavy_tails_of_a_target_are_no_warning(draw: str) -> None:
    random, said = np.random.default_rng(0), Report()
    for _ in range(100):
        sold = random.random(500) < 0.02
        values = sold * random.lognormal(8, 1.5, 500) if " " in draw else getattr(random, draw)(size=500)
        warn_of_far(pd.Series(values**2 if draw == "lognormal" else values, name="y"), said)
    assert said.warnings == []


def test_whole_numbers_of_any_size_are_read_from_json_lines(tmp_path: Path) -> None:
    text = "".join(json.dumps({"a": 2**70 + n, "y": "ab"[n % 2]}) + "\n" for n in range(30))
    rows = read_table(written(tmp_path, text, "t.jsonl"), as_text=True)[0]
    assert rows["a"].tolist() == [2**70 + n for n in range(30)]


def test_what_was_assumed_of_a_table_is_said_whoever_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path, "text,y\nn\xe9e,a\n1,2,3,4\nfin,b\n".encode("latin1"))
    with collected() as said:
        rows, bad = read_table(path)
    assert (len(rows), bad) == (2, 1)
    assert said[0].startswith("not UTF-8: read as ")
    assert said[-1] == f"{path}: 1 row could not be read"


def test_what_is_no_object_a_line_or_has_a_name_twice_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no JSON lines.*jq"):
        read_table(written(tmp_path, '[{"a": 1}, {"a": 2}]', "t.jsonl"))
    with pytest.raises(UserError, match=r"holds no JSON lines.* one is '\[1, 2\]'"):
        read_table(written(tmp_path, '{"a": 1}\n\n[1, 2]\n3\n', "t.jsonl"))
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="'a' names more than one column"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path)
