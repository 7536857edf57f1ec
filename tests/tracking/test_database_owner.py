"""Whose database a URI names, and that no other program's is replaced."""

from pathlib import Path

import pytest

from lantu.tracking import store
from lantu.tracking.database_owner import same_database


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://me:secret@host/runs", "postgresql+psycopg2://you@host:5432/runs", True),
        ("postgresql:///runs?host=/var/run", "postgres:///runs?host=/var/run", True),
        ("postgresql://host/runs", "postgresql://host/optuna", False),
        ("postgresql://host/runs", "postgresql://host:5433/runs", False),
        ("postgresql://host:port/runs", "postgresql://host/runs", False),  # no port: whoever connects says so
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db", True),
        ("sqlite:////data/mlflow.db", "sqlite:////data/optuna.db", False),
    ],
)
def test_two_uris_name_one_database_whatever_their_driver_and_password(one: str, other: str, *, same: bool) -> None:
    assert same_database(one, other) == same


def test_a_database_that_another_program_made_meanwhile_is_kept(tmp_path: Path) -> None:
    draft, database = tmp_path / ".mlflow.db.1", tmp_path / "mlflow.db"
    draft.write_text("ours")
    database.write_text("of `mlflow ui`, which takes no lock of ours")
    store._put(draft, database)
    assert database.read_text().startswith("of `mlflow ui`")
    database.unlink()
    store._put(draft, database)
    assert database.read_text() == "ours"
