"""Findings are counted in words that agree with their number."""

import pytest

from lantu.data.cleaning_report import Report, counted


@pytest.mark.parametrize(
    ("count", "what", "said"),
    [
        (1, "rows that could not be read left out", "1 row that could not be read left out"),
        (1, "training rows that occur twice left out", "1 training row that occurs twice left out"),
        (1, "rows without a readable day are trained on", "1 row without a readable day is trained on"),
        (1, "left out for naming the rows", "1 left out for naming the rows"),
        (1, "columns naming the rows left out", "1 column naming the rows left out"),
        (2, "rows that could not be read left out", "2 rows that could not be read left out"),
        (1200, "texts cut after 9 tokens", "1,200 texts cut after 9 tokens"),
    ],
)
def test_one_of_a_kind_is_singular(count: int, what: str, said: str) -> None:
    assert counted(count, what) == said
    report = Report()
    report.note(count, what)
    assert said in report.lines()
