"""Limits on what an MLflow server may answer: its size, its time and its pages.

MLflow reads every answer to its end, whatever its size and however slowly it comes, and follows page tokens for ever.
It has no option for a limit, but one class through which all of its requests go, which is replaced here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest, Response
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

MOST_BYTES = 1 << 28
"""Of an answer in JSON, decompressed; a page of a thousand runs has a few million."""
MOST_PAGES = 1_000
"""Of one listing, each of which has a thousand runs or more."""
ANSWER_SECONDS = 60.0
"""Until the head of an answer is there."""
BODY_SECONDS = 60.0
"""Until an answer in JSON, or the next mebibyte of a file, is complete."""
LONGEST_RETRY_AFTER = 10
"""Seconds that a server's Retry-After is obeyed; urllib3 would sleep for six hours."""
_AT_ONCE = 1 << 16


class Unbounded(RequestsConnectionError):
    """A server's answer exceeds a limit."""


class _Limits(threading.local):
    """Of the downloads and listings of one thread."""

    def __init__(self) -> None:
        self.pages: set[str] = set()


_limits = _Limits()
_most_downloaded: list[int] = []
"""Bytes that a file may have, the innermost limit last; MLflow downloads in threads of its own."""


@contextmanager
def download_of(most: int) -> Iterator[None]:
    """Limit the bytes of each file that is downloaded in a block.

    A file that is larger raises `Unbounded`, or what MLflow makes of it.
    """
    _most_downloaded.append(most)
    try:
        yield
    finally:
        _most_downloaded.pop()


def bound_mlflow() -> None:
    """Let all sessions that MLflow opens from now on in this process have the limits of this module."""
    from mlflow.utils import request_utils

    base: Any = request_utils.TCPKeepAliveHTTPAdapter
    if getattr(base, "bounded", False):
        return
    request_utils.TCPKeepAliveHTTPAdapter = _bounded(base)  # type: ignore[misc]
    request_utils._cached_get_request_session.cache_clear()


def _bounded(base: Any) -> Any:
    """A subclass of MLflow's adapter, which sends a request and reads the answer."""

    class Bounded(base):
        bounded = True

        def __init__(self, *given: Any, max_retries: Any = 0, **options: Any) -> None:
            super().__init__(*given, max_retries=_patient(max_retries), **options)

        def init_poolmanager(self, *given: Any, **options: Any) -> None:
            super().init_poolmanager(*given, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

        def send(self, request: PreparedRequest, stream: bool = False, **options: Any) -> Response:
            _check_page(request)
            response: Response = super().send(request, stream=True, **options)
            _check_redirect(request, response)
            if stream:
                _limit_download(response)
            else:
                _read(response)
            return response

    return Bounded


class _Patience(Retry):
    """Asks again neither after hours nor where an answer did not come in time."""

    def get_retry_after(self, response: Any) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER)

    def increment(self, *given: Any, **options: Any) -> Any:
        error = options.get("error")
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(*given, **options)


def _patient(retry: Any) -> Any:
    """The same retries as MLflow asks for, within the limits of `_Patience`."""
    if not isinstance(retry, Retry):
        return retry
    patient = _Patience()
    patient.__dict__.update(retry.__dict__)
    return patient


def _check_redirect(request: PreparedRequest, response: Response) -> None:
    """Refuse to be sent to another host, which would get what is written and could be any of this network."""
    if not response.is_redirect:
        return
    target = urlsplit(urljoin(str(request.url), response.headers["location"])).hostname
    if target != urlsplit(str(request.url)).hostname:
        response.close()
        raise Unbounded(
            f"the server redirects to another host, {target}; if that is right, give its address as the tracking URI",
            request=request,
        )


def _check_page(request: PreparedRequest) -> None:
    """Refuse a page that was had before in the same listing: it would never end."""
    body = request.body if isinstance(request.body, str | bytes) else b""
    asked = f"{request.url} {body.decode(errors='replace') if isinstance(body, bytes) else body}"
    if "page_token" not in asked:
        _limits.pages.clear()
        return
    if asked in _limits.pages or len(_limits.pages) >= MOST_PAGES:
        raise Unbounded("the server's list of pages does not end", request=request)
    _limits.pages.add(asked)


def _read(response: Response) -> None:
    """Read an answer to its end."""
    parts, size = [], 0
    with _closed_after(lambda: _socket_of(response), BODY_SECONDS) as late:
        for part in response.iter_content(_AT_ONCE):
            size += len(part)
            if size > MOST_BYTES:
                response.close()
                raise Unbounded(f"the server's answer is larger than {MOST_BYTES:,} bytes", response=response)
            parts.append(part)
    if late.is_set():
        raise Unbounded(f"the server's answer was not complete after {BODY_SECONDS:g} seconds", response=response)
    response._content = b"".join(parts)


def _limit_download(response: Response) -> None:
    most = _most_downloaded[-1] if _most_downloaded else None
    read, size = response.raw.read, 0

    def limited(*given: Any, **options: Any) -> bytes:
        nonlocal size
        with _closed_after(lambda: _socket_of(response), BODY_SECONDS) as late:
            part: bytes = read(*given, **options)
        if late.is_set():
            raise Unbounded("the server sends a file too slowly", response=response)
        size += len(part)
        if most is not None and size > most:
            response.close()
            raise Unbounded(f"the server sends more than the {most:,} bytes of the file", response=response)
        return part

    response.raw.read = limited


def _socket_of(response: Response) -> Any:
    return getattr(response.raw, "socket", None)


@contextmanager
def _closed_after(socket: Any, seconds: float) -> Iterator[threading.Event]:
    """Shut a socket down if a block takes longer, which ends whatever waits for it; the event says whether it did."""
    late = threading.Event()

    def shut() -> None:
        late.set()
        with suppress(OSError, AttributeError):
            socket().shutdown(SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


class _InTime(HTTPConnection):
    """Gives up an answer whose head does not come in time."""

    def getresponse(self) -> Any:
        socket = self.sock
        with _closed_after(lambda: socket, ANSWER_SECONDS) as late:
            response: Any = super().getresponse()
        if late.is_set():  # a head that breaks off counts as complete for http.client
            raise TimeoutError("the head of the answer did not come in time")
        response.socket = socket  # the connection has let go of it where the answer ends with it
        return response


class _SecureInTime(_InTime, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _InTime


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureInTime
