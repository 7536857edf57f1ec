"""Names from elsewhere do nothing in a spreadsheet, in LaTeX or in Markdown."""

import pandas as pd
import pytest

from lantu.escaping import csv_safe, for_csv, for_latex, for_markdown


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1"])
def test_a_formula_is_text_in_a_spreadsheet(text: str) -> None:
    assert for_csv(text) == f"'{text}"


@pytest.mark.parametrize("text", ["mlp", "-0.5", "+3e-4", "a=b", ""])
def test_numbers_and_plain_text_stay_as_they_are(text: str) -> None:
    assert for_csv(text) == text


def test_a_tables_texts_names_and_index_are_made_safe_and_its_numbers_kept() -> None:
    table = pd.DataFrame({"=x": ["=1+1", "ok"], "n": [-1.5, 2.0]}, index=["@a", "b"])
    safe = csv_safe(table)
    assert list(safe.columns) == ["'=x", "n"]
    assert list(safe.index) == ["'@a", "b"]
    assert safe["'=x"].tolist() == ["'=1+1", "ok"]
    assert safe["n"].tolist() == [-1.5, 2.0]
    assert table.columns[0] == "=x"


def test_latex_prints_commands_instead_of_running_them() -> None:
    assert for_latex(r"\input{/etc/passwd} 50% $x_1$") == (r"\textbackslash{}input\{/etc/passwd\} 50\% \$x\_1\$")


def test_markdown_shows_html_and_keeps_to_its_cell() -> None:
    shown = for_markdown("<script>x</script> | [a](b)\nc")
    assert "<" not in shown
    assert shown == r"&lt;script&gt;x&lt;/script&gt; \| \[a\](b) c"
