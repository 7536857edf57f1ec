"""Join a Ray cluster, or start one on this machine."""

import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

import ray

from lantu.errors import UserError

ANSWER_SECONDS = 10.0
"""Ray itself retries a wrong address for minutes and prints a page about it."""


def connect(address: str | None, options: Mapping[str, Any], *, option: str = "address") -> bool:
    """Join a cluster, or start a local one; return whether the caller has to disconnect.

    Args:
        address: HOST:PORT; None: a local one, or what RAY_ADDRESS names.
        options: further ones of `ray.init`.
        option: where the address was given, for the message.

    Raises:
        UserError: no cluster at the address.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keep CUDA_VISIBLE_DEVICES of jobs without GPU
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address)
        silent = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address=address, **{**silent, **options})
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"`{option}={address}`: no Ray cluster could be joined there ({_first_line(error)}). "
            "Without an address one is started on this machine."
        ) from error
    return True


def disconnect() -> None:
    """Disconnect from the cluster; a cluster started by this process is shut down."""
    ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise OSError if no server accepts connections at HOST:PORT."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()


def _first_line(error: BaseException) -> str:
    message = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
