"""An MLflow server that answers without end, slowly, or with addresses of others is given up in a sentence."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from mlflow.exceptions import MlflowException

from lantu.errors import UserError
from lantu.tracking import bounded_http
from lantu.tracking.artifacts import artifacts_of, download
from lantu.tracking.find import find_run
from lantu.tracking.mlflow_client import open_mlflow, same_host

RUN = "0123456789abcdef0123456789abcdef"


class _Endless(BaseHTTPRequestHandler):
    """Answers as `how` says."""

    how = ""
    artifacts = "mlflow-artifacts:/1/x/artifacts"
    size = 5
    asked: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._answer(urlsplit(self.path).path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_GET

    def _answer(self, path: str) -> None:
        if self.how == "head":
            self._send(b"HTTP/1.1 200 OK\r\nX: ", forever=b"a", pause=0.05)
        self.asked.append(path)
        if self.how in ("later", "elsewhere"):
            self.send_response(429 if self.how == "later" else 307)
            self.send_header("Retry-After", "31536000")
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/other")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        slow_file = self.how == "slow file" and path.endswith("file.csv")
        if self.how in ("slow", "slow to the end") or slow_file:
            self.send_header(*(("Content-Length", "100000") if self.how == "slow" else ("Connection", "close")))
            self.end_headers()
            self._send(b"", forever=b" ", pause=0.05)
        elif self.how == "short file" and path.endswith("file.csv"):
            self._body(b"a,b")
        elif self.how == "bomb":
            self._body(gzip.compress(bytes(3_000_000)), "gzip")
        elif self.how == "endless" or path.endswith("file.csv"):
            self.send_header("Connection", "close")
            self.end_headers()
            self._send(b"", forever=b" " * 65536)
        elif path.endswith("/artifacts/list") or path.endswith("mlflow-artifacts/artifacts"):
            self._say(
                {"root_uri": self.artifacts, "files": [{"path": "file.csv", "is_dir": False, "file_size": self.size}]}
            )
        elif path.endswith("/runs/get"):
            self._say({"run": {"info": self._info(), "data": {}} if self.how != "other form" else {"info": [7]}})
        else:
            self._say({"runs": [{"info": self._info(), "data": {}}], "next_page_token": "again"})

    def _info(self) -> dict[str, Any]:
        known = {"experiment_id": "1", "status": "FINISHED", "lifecycle_stage": "active"}
        return {"run_id": RUN, "run_uuid": RUN, "artifact_uri": self.artifacts, **known}

    def _say(self, content: Any) -> None:
        self._body(json.dumps(content).encode())

    def _body(self, content: bytes, encoding: str = "identity") -> None:
        self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send(self, first: bytes, *, forever: bytes, pause: float = 0) -> None:
        self.wfile.write(first)
        while True:
            self.wfile.write(forever)
            self.wfile.flush()
            time.sleep(pause)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real server on loopback; the limit of bytes is small."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(bounded_http, "MOST_BYTES", 2_000_000)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("head", "in time|timed out"),
        ("slow", "broken|complete|time"),
        ("slow to the end", "complete"),
        ("elsewhere", "redirects to another host, localhost"),
        ("other form", "not of MLflow's form"),
        ("endless", "larger than 2,000,000"),
        ("bomb", "larger than 2,000,000"),
    ],
)
def test_an_answer_without_end_is_given_up(how: str, said: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Endless, "how", how)
    if "slow" in how or how == "head":  # by its size nothing must be given up for its time on a busy machine
        monkeypatch.setattr(bounded_http, "ANSWER_SECONDS", 0.5)
        monkeypatch.setattr(bounded_http, "BODY_SECONDS", 0.5)
    with pytest.raises(MlflowException, match=said):
        open_mlflow(server).get_run(RUN)


def test_a_listing_whose_pages_go_in_a_circle_is_given_up(server: str) -> None:
    client = open_mlflow(server)
    token = client.search_runs(["1"]).token
    assert client.search_runs(["1"], page_token=token).token == token
    with pytest.raises(MlflowException, match="pages does not end"):
        client.search_runs(["1"], page_token=token)
    assert client.search_runs(["1"])[0].info.run_id == RUN  # another listing begins anew


def test_a_file_that_is_larger_than_the_server_said_is_cut_off(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    client = open_mlflow(server)
    (file,) = artifacts_of(client, RUN)
    with pytest.raises(MlflowException):
        download(client, RUN, file, tmp_path)
    assert sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()) < 3_000_000


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (("short file", 2_000), "sent 3 of the 2,000 bytes"),
        (("", 10**18), "1,000,000,000,000,000,000 bytes, and"),
        (("slow file", 5), "Failed to download"),
    ],
)
def test_a_file_that_is_not_as_the_server_said_is_not_taken(
    case: tuple[str, int], said: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, size = case
    monkeypatch.setattr(_Endless, "how", how)
    monkeypatch.setattr(_Endless, "size", size)
    client = open_mlflow(server)
    (file,) = artifacts_of(client, RUN)
    monkeypatch.setattr(bounded_http, "BODY_SECONDS", 0.5 if how == "slow file" else 60)
    with pytest.raises((UserError, MlflowException), match=said):
        download(client, RUN, file, tmp_path)
    assert how == "slow file" or not [each for each in tmp_path.rglob("*") if each.is_file()]


def test_a_server_that_asks_for_a_year_of_patience_is_asked_again_soon(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(bounded_http, "LONGEST_RETRY_AFTER", 0.01)
    monkeypatch.setattr(_Endless, "how", "later")
    monkeypatch.setattr(_Endless, "asked", [])
    with pytest.raises(MlflowException, match="429"):
        open_mlflow(server).get_run(RUN)
    assert len(_Endless.asked) == 2


def test_a_server_that_never_answers_is_asked_once(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setattr(bounded_http, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(_Endless, "how", "head")
    before = time.monotonic()
    with pytest.raises(UserError, match="the MLflow server's answer cannot be used"):
        find_run(RUN, store=Path("none"), tracking_uri=server)
    assert time.monotonic() - before < 2  # MLflow waits for as long before it asks again


@pytest.mark.parametrize(
    "place", ["http://{other}/x", "mlflow-artifacts://{other}/x", "file:///etc", "/etc", "../../etc"]
)
def test_files_that_are_said_to_lie_elsewhere_are_not_fetched(
    place: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Endless, "artifacts", place.format(other="localhost:1"))
    with pytest.raises(UserError, match="Nothing was read"):
        artifacts_of(open_mlflow(server), RUN)


def test_the_servers_own_name_and_storage_services_are_no_other_server() -> None:
    server = "https://team.example:8443"
    assert same_host("mlflow-artifacts:/1/x/artifacts", server)
    assert same_host("mlflow-artifacts://team.example:8443/1/x", server)
    assert same_host("s3://bucket/1/x", server)
    assert not same_host("https://team.example:9000/1/x", server)
    assert not same_host("https://team.example.evil.example/1/x", server)
