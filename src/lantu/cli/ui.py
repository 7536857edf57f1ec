"""`lantu ui`: the MLflow UI over the local store, on loopback."""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

from lantu.errors import UserError


def ui_main(arguments: list[str]) -> int:
    """Serve the MLflow UI until Ctrl-C."""
    parser = argparse.ArgumentParser("lantu ui", description="Open the MLflow UI over the local runs, on loopback.")
    parser.add_argument(
        "--store", type=Path, default=Path("mlruns"), help="the folder with mlflow.db (default: mlruns)"
    )
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args(arguments)
    database = options.store.resolve() / "mlflow.db"
    if not database.is_file():
        raise UserError(
            f"there are no runs in {options.store} yet. Train one first (`lantu train`), or name a folder: --store DIR."
        )
    if not _is_free(options.port):
        raise UserError(f"port {options.port} is taken. Choose another: `lantu ui --port {options.port + 1}`.")
    print(f"MLflow UI over {database}: {_address(options.port)} (Ctrl-C ends it)", flush=True)
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", f"sqlite:///{database}",
        "--artifacts-destination", str(options.store.resolve() / "artifacts"),
        "--host", "127.0.0.1", "--port", str(options.port), "--workers", "1",
    ]  # fmt: skip
    # the workers for jobs of generative AI are eight more processes, of 20 processor seconds and half a gigabyte
    server = subprocess.Popen(command, env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ})
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait(timeout=10)
        return 0


def _address(port: int) -> str:
    """With MLflow's view of training runs, rather than of chats, which it would show first."""
    return f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
