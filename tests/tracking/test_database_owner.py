"""Whose database a URI names."""

import pytest

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
