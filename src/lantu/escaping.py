"""Text from elsewhere (names, settings) for what interprets it: spreadsheets, LaTeX, Markdown, terminals."""

from html import escape as _html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "±": r"$\pm$",
        "\n": " ",
    }
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def for_csv(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before =, +, - or @, unless it is a number.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def csv_safe(table: "pd.DataFrame") -> "pd.DataFrame":
    """A copy of a table with `for_csv` applied to its texts, its index and its column names."""
    safe = table.copy()
    for column in safe.columns:
        if safe[column].dtype.kind not in "biufcmM":
            safe[column] = safe[column].map(lambda cell: for_csv(cell) if isinstance(cell, str) else cell)
    for axis in (0, 1):
        safe = safe.rename(lambda name: for_csv(name) if isinstance(name, str) else name, axis=axis)
    return safe


def for_latex(text: str) -> str:
    """Text that LaTeX prints as it is and does not execute."""
    return text.translate(_LATEX)


def for_markdown(text: str) -> str:
    """Text for a cell of a Markdown table: HTML is shown, not interpreted, and nothing ends the cell or is a link."""
    shown = _html(text, quote=False).replace("|", "\\|").replace("`", "\\`").replace("[", "\\[").replace("]", "\\]")
    return " ".join(shown.split())


def for_terminal(text: str) -> str:
    """Text on one line that changes neither colours nor the direction of writing: `?` for what cannot be printed."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
