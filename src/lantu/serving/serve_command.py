"""The `serve` command: answer over HTTP until stopped."""

import os
import socket
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lantu.errors import UserError
from lantu.extras import require
from lantu.log_noise import without_noise

BACKLOG = 2048
"""Connections that wait to be accepted."""
TOKEN = "LANTU_SERVE_TOKEN"
"""The environment variable with the bearer token: on a command line other users of the machine would see it."""


def job(cfg: DictConfig) -> None:
    """Load the model, then serve it."""
    without_noise()
    try:
        serve(cfg)
    except UserError as error:
        print(f"lantu serve: {error}", file=sys.stderr)
        sys.exit(2)


def serve(cfg: DictConfig) -> None:
    """See `job`.

    Raises:
        UserError: there is no such model, the port is taken, or the address needs a token.
    """
    for package in ("starlette", "uvicorn", "prometheus_client", "multipart"):
        require(package, "lantu serve", "serve")
    import torch
    import uvicorn

    from lantu.serving.http.app import build_app

    token = os.environ.get(TOKEN) or None
    check_address(cfg.host, token)
    listening = listen(cfg.host, cfg.port)
    torch.set_num_threads(cfg.threads)
    server = make_server(cfg, token)
    address = f"http://{cfg.host}:{listening.getsockname()[1]}"
    model = server.holder.model
    listening.listen(BACKLOG)  # who reads the address may connect at once
    print(f"{model.name} {model.version} at {address}  (Ctrl-C ends it)", flush=True)
    print(f"  page {address}/   POST {address}/predict   {address}/openapi.json   {address}/metrics", flush=True)
    if server.sample is not None:
        left = f", {', '.join(server.sample.redacted)} left empty" if server.sample.redacted else ""
        print(f"  keeps {cfg.sample:.2%} of the rows in {cfg.sample_folder}{left}", flush=True)
    config = uvicorn.Config(
        build_app(server), log_level="warning", access_log=False, backlog=BACKLOG, timeout_keep_alive=75,
        timeout_graceful_shutdown=int(cfg.timeout) + 1,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def make_server(cfg: DictConfig, token: str | None) -> Any:
    """The server's state with its model loaded."""
    from lantu.serving.http.app import Limits, Server
    from lantu.serving.http.holder import Holder, Source
    from lantu.serving.http.watching import Watch

    source = Source(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
    watch = Watch(log=cfg.log)
    names = ("max_bytes", "max_rows", "max_batch", "max_texts", "max_waiting", "timeout", "reload_every")
    for name in ("max_bytes", "max_rows", "max_batch", "max_texts", "timeout", "threads"):
        if not cfg[name] > 0:
            raise UserError(f"`{name}={cfg[name]}`: it is above 0; the server would answer nothing.")
    limits = Limits(**{name: cfg[name] for name in names})
    model = source.load()
    sample = _sample(cfg, model) if cfg.sample else None
    hosts = allowed_hosts(cfg.host, cfg.hosts)
    return Server(Holder(source, model, watch), watch, limits, token, hosts=hosts, sample=sample)


def _sample(cfg: DictConfig, model: Any) -> Any:
    """What keeps a share of the requests; raises a `UserError` where that cannot be."""
    from lantu.serving.http.request_sample import RequestSample
    from lantu.serving.http.served import table_columns

    if cfg.sample_folder is None:
        raise UserError(f"`sample={cfg.sample}` keeps rows of requests: say where, `sample_folder=DIR`.")
    columns = table_columns(model)
    if not columns:
        raise UserError("`sample` keeps rows of tables, and this model takes none.")
    folder = Path(cfg.sample_folder).expanduser()
    return RequestSample(folder, columns, share=cfg.sample, redact=cfg.redact, most_rows=cfg.sample_rows)


def allowed_hosts(host: str, names: Iterable[str]) -> frozenset[str] | None:
    """The names under which a server on loopback is reached; None: it listens to other machines, under any name.

    Args:
        host: where it listens.
        names: further ones, such as that of a proxy on this machine.
    """
    if not is_loopback(host):
        return frozenset(each.lower() for each in names) or None
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *(each.lower() for each in names)})


def check_address(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token.

    Raises:
        UserError: says how to set one.
    """
    if token is None and not is_loopback(host):
        raise UserError(
            f"`host={host}` lets other machines in, so requests need a token: set the environment variable {TOKEN} "
            "to a long random text, which clients send as `Authorization: Bearer ...`."
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket of this address.

    Raises:
        UserError: the port is taken, or the address is none of this machine.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UserError(
            f"`host={host} port={port}` cannot be used: {error.strerror}. Choose another: `port={port + 1}`, or "
            "`port=0` for one that is free."
        ) from error
    return listening
