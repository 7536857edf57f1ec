"""Which way a store is read."""

from lantu.compare.reading.run_frames import Reader


def open_reader(tracking_uri: str) -> Reader:
    """The fastest way to read a store: SQL where the store is a database, MLflow's interface elsewhere.

    Raises:
        UserError: the server does not answer.
    """
    if tracking_uri.startswith(("sqlite:", "postgresql")):
        from lantu.compare.reading.sql import SqlReader

        return SqlReader(tracking_uri)
    from lantu.compare.reading.server import ServerReader
    from lantu.tracking.mlflow_runs import refuse_silent

    refuse_silent(tracking_uri)
    return ServerReader(tracking_uri)
