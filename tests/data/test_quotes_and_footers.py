"""Stray quotes, long rows, comments, rules of dashes and totals: no row is lost or added without a word."""

from pathlib import Path

import pandas as pd
import pytest

from lantu.data.csv_rows import read_csv
from lantu.data.table.kinds import kinds_of
from lantu.data.table_chunks import chunk_files
from lantu.errors import UserError

LINES = [f"plain {n},{n},{'ab'[n % 2]}\n" for n in range(60)]


def written(folder: Path, *lines: str, header: str = "name,x,y\n") -> Path:
    path = folder / "t.csv"
    path.write_text("".join((header, *lines)))
    return path


@pytest.mark.parametrize("place", [0, 20, 59])
def test_a_quote_that_is_never_closed_is_named_with_its_line(place: int, tmp_path: Path) -> None:
    path = written(tmp_path, *LINES[:place], '"open,1,a\n', *LINES[place:])
    with pytest.raises(UserError, match=rf"line {place + 2}: a quote .* is never closed"):
        read_csv(path, as_text=True)


def test_a_quote_that_a_later_row_closes_is_refused_whether_whole_or_in_parts(tmp_path: Path) -> None:
    path = written(tmp_path, *LINES[:20], '"open,1,a\n', *LINES[20:30], 'pipe 5",1,b\n', *LINES[30:])
    with pytest.raises(UserError, match="row 21: a quote opens a field that goes on over 12 lines"):
        read_csv(path, as_text=True)
    with pytest.raises(UserError, match="look like rows"):
        list(chunk_files(path, tmp_path, rows=50))


def test_line_breaks_and_separators_in_a_quoted_text_are_its_own(tmp_path: Path) -> None:
    texts = [f'"It came, late,\nwas small, and broke,\nso {n}",{n},{"ab"[n % 2]}\n' for n in range(30)]
    rows = read_csv(written(tmp_path, *texts), as_text=True)[0]
    assert len(rows) == 30
    assert rows["name"][3] == "It came, late,\nwas small, and broke,\nso 3"


def test_apostrophes_are_no_quotes_where_double_quotes_are(tmp_path: Path) -> None:
    cells = ["O'Hara", '"a ""b"""', "'tis"]
    rows = read_csv(written(tmp_path, *(f"{cells[n % 3]},{n},z\n" for n in range(30))), as_text=True)[0]
    assert rows["name"][:3].tolist() == ["O'Hara", 'a "b"', "'tis"]


@pytest.mark.parametrize("every", [2, 3, 60])
def test_rows_with_fields_too_many_are_counted_and_shift_nothing(every: int, tmp_path: Path) -> None:
    lines = [f"{line.strip()},4,5,a\n" if n % every == 0 else line for n, line in enumerate(LINES)]
    rows, bad, _ = read_csv(written(tmp_path, *lines), as_text=True)
    assert bad == len(range(0, 60, every))
    assert set(rows["y"]) <= {"a", "b"}
    assert len(rows) + bad == 60


def test_comments_above_the_header_are_passed_over_and_said(tmp_path: Path) -> None:
    rows, _, notes = read_csv(written(tmp_path, *LINES, header="# made, by hand\n# in, 2024, twice\nname,x,y\n"))
    assert list(rows.columns) == ["name", "x", "y"]
    assert "2 lines above the header" in notes[0]
    assert list(read_csv(written(tmp_path, *LINES, header="#name,x,y\n"))[0].columns) == ["#name", "x", "y"]


def test_the_rule_of_a_markdown_table_is_no_row(tmp_path: Path) -> None:
    lines = [f"| {n} | {'ab'[n % 2]} |\n" for n in range(30)]
    rows = read_csv(written(tmp_path, "|---|:---:|\n", *lines, header="| x | y |\n"), as_text=True)[0]
    assert rows.shape == (30, 2)
    assert set(rows["y"]) == {"a", "b"}


def test_a_last_line_of_totals_is_left_out_and_said_and_a_brand_called_total_is_kept(tmp_path: Path) -> None:
    rows, _, notes = read_csv(written(tmp_path, *LINES, "Grand Total:,1770,99\n"), as_text=True)
    assert len(rows) == 60
    assert notes == ["a last line of totals left out: 'Grand Total:'"]
    brands = [f"{('Total', 'Shell')[n % 2]},{n},z\n" for n in range(31)]
    assert len(read_csv(written(tmp_path, *brands), as_text=True)[0]) == 31


def test_footers_and_comments_are_no_rows_of_a_file_in_parts_either(tmp_path: Path) -> None:
    lines = [*LINES[:30], "# exported\n", *LINES[30:59], "sparse,,\n", LINES[59], "End of report\n"]
    path = written(tmp_path, *lines)
    whole = read_csv(path, as_text=True)[0]
    parts = pd.concat([pd.read_parquet(each) for each in chunk_files(path, tmp_path, rows=25)], ignore_index=True)
    assert whole["name"].tolist() == parts["name"].tolist()
    assert len(whole) == 61


@pytest.mark.parametrize("rows", [20, 25])
def test_a_last_line_of_totals_is_no_row_of_a_file_in_parts_either(tmp_path: Path, rows: int) -> None:
    def in_parts(*lines: str) -> int:
        path = written(tmp_path, *lines)
        return sum(len(pd.read_parquet(each)) for each in chunk_files(path, tmp_path, rows=rows))

    assert in_parts(*LINES, "Grand Total:,1770,99\n") == 60
    assert in_parts("Total,1,z\n", *LINES, "Total,2,z\n") == 62  # a brand


def test_eight_digits_that_are_all_days_are_dates_whatever_the_columns_name(tmp_path: Path) -> None:
    days = [f"2023{n % 12 + 1:02d}{n % 28 + 1:02d},{20000000 + n * 37},z\n" for n in range(60)]
    kinds = kinds_of(read_csv(written(tmp_path, *days, header="since,account,y\n"), as_text=True)[0])
    assert (kinds["since"].name, kinds["since"].format) == ("date", "%Y%m%d")
    assert "is read as a date" in kinds["since"].notes[0]
    assert kinds["account"].name == "number"
