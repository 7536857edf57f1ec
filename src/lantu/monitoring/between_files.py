"""Drift between the training rows of a table and another file, column by column, before there is a model."""

from pathlib import Path
from typing import Any

from lantu.data.cleaning_report import Report
from lantu.data.read_table import read_table_with_notes
from lantu.data.table.column import Column
from lantu.data.table.encode_columns import encode
from lantu.data.table.reference import reference
from lantu.data.values import as_text
from lantu.monitoring import drift
from lantu.monitoring.performance import classifier_test

FEWEST = 50
"""Rows of each from which on a classifier is asked to tell them apart."""
LEAST = 0.1
"""Effect from which on a difference counts."""


def add_drift(table: Any, report: Report, file: Path) -> None:
    """Compare a file with the training rows, and add what was found to a report.

    The tests are those of `lantu monitor`; the p values of all of them are corrected by Holm's method.

    Args:
        table: a `TableReport` that has examined its rows.

    Raises:
        UserError: the file cannot be read or lacks a column.
    """
    rows, bad, notes = read_table_with_notes(file, as_text=True)
    for sentence in [f"{file.name}: {bad} rows could not be read"] * bool(bad) + notes:
        report.say(sentence)
    learned = [Column(**each) for each in table.learned["columns"]]
    features = [encode(each, learned) for each in (table.training, rows)]  # refuses a lacking column
    findings = drift.compare(table.learned["reference"], reference(rows, learned), least=LEAST)
    if table.target in rows:
        findings += _of_target(table, rows)
    if min(map(len, features)) >= FEWEST:
        findings.append(classifier_test(features[0], features[1], least=LEAST))
    drift.correct(findings)
    changed = sorted((each for each in findings if each.drifted), key=lambda each: -each.effect)
    report.say(f"{file.name}: {len(rows):,} rows compared with the training rows, {len(findings)} comparisons")
    for each in changed:
        more = f"; {each.note}" if each.note else ""
        report.warn(
            f"{each.column} differs from training: {each.test}, effect {each.effect:.3f}, p {each.corrected:.2g}{more}."
        )
    if not changed:
        report.say(f"{file.name}: no comparison shows a change")
    report.tables[f"Drift from the training rows to {file.name}"] = [
        {
            "column": each.column, "test": each.test, "effect": round(each.effect, 4),
            "PSI": None if each.psi is None else round(each.psi, 4), "p (Holm)": float(f"{each.corrected:.3g}"),
            "changed": "yes" if each.drifted else "", "note": each.note,
        }
        for each in sorted(findings, key=lambda each: -each.effect)
    ]  # fmt: skip


def _of_target(table: Any, rows: Any) -> list[drift.Finding]:
    """The target's own distribution, where it is a class."""
    if table.learned["target"]["kind"] != "classification":
        return []
    described = []
    for each in (table.training, rows):
        texts = as_text(each[table.target].dropna()).str.strip()
        described.append(
            {"rows": len(each), "missing": len(each) - len(texts), "counts": texts.value_counts().to_dict()}
        )
    if not all(each["counts"] for each in described):
        return []
    return [drift.categories(f"{table.target} (target)", *described, least=LEAST)]
