"""Whose tables a database holds: MLflow and Optuna cannot share one.

Both number the version of their tables in a table called `alembic_version`. Whichever comes second finds the other's
number there and fails with a message about a revision that cannot be located, or migrates the wrong tables.
"""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from lantu.errors import UserError
from lantu.redaction import redact

TABLES = {"MLflow": {"experiments", "latest_metrics"}, "Optuna": {"studies", "trial_values"}}
"""Tables by which a database's owner is known."""


def same_database(one: str, other: str) -> bool:
    """Whether two URIs name one database; drivers and passwords make no difference."""
    return _place(one) == _place(other)


def refuse_same(*, storage: str, tracking_uri: str) -> None:
    """Refuse a study in the database of the MLflow store, before anything connects to it.

    Raises:
        UserError: says what to type instead.
    """
    if same_database(storage, tracking_uri):
        raise UserError(
            f"`hydra.sweeper.storage={redact(storage)}` is the database of the MLflow store. {_why('Optuna')}"
        )


def refuse_tables_of_other(uri: str, *, wanted_by: str, option: str) -> None:
    """Refuse a database with the other's tables; one that is absent or empty can be used by either.

    Args:
        wanted_by: MLflow or Optuna.
        option: what named the database.

    Raises:
        UserError: says what to type instead.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return
    from sqlalchemy import create_engine, inspect

    engine = create_engine(uri)
    try:
        there = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    (other,) = (each for each in TABLES if each != wanted_by)
    if TABLES[other] <= there and not TABLES[wanted_by] <= there:
        raise UserError(f"`{option}={redact(uri)}` is a database with {other}'s tables. {_why(wanted_by)}")


def _why(wanted_by: str) -> str:
    name = wanted_by.lower()
    instead = "hydra.sweeper.storage=postgresql://HOST/optuna" if name == "optuna" else "MLFLOW_TRACKING_URI=..."
    return (
        "MLflow and Optuna number their tables in one table `alembic_version`, so each needs a database of its own. "
        f"Make one on the same server (`createdb {name}`) and name it: `{instead}`."
    )


def _place(uri: str) -> tuple[str, ...]:
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    kind = "postgresql" if kind == "postgres" else kind
    if kind == "sqlite":
        return kind, str(Path(uri.partition(":///")[2]).absolute())
    host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "")
    try:
        port = parts.port or {"postgresql": 5432, "mysql": 3306}.get(kind)
    except ValueError:  # no port at all: whoever connects says so
        port = None
    return kind, host, str(port), parts.path.strip("/")
