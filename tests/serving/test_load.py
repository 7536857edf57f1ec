"""A load test counts what a user would wait for, and every wrong answer."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread

import pytest

pytest.importorskip("aiohttp", reason="needs the extra `serve`")
from lantu.config.composing import compose
from lantu.errors import UserError
from lantu.serving.load.client import Body, closed_loop, open_loop
from lantu.serving.load.load_command import _address, keep, load


class Stalls(BaseHTTPRequestHandler):
    """Answers at once, but stands still for half a second now and then; and fails on request."""

    protocol_version = "HTTP/1.1"
    began = 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if time.monotonic() - Stalls.began < 0.5:
            time.sleep(max(0.0, Stalls.began + 0.5 - time.monotonic()))
        self.send_response(500 if body == b"fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stalls)
    Thread(target=server.serve_forever, daemon=True).start()
    Stalls.began = 0.0
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_open_loop_counts_the_waiting_behind_a_stall_that_a_closed_loop_hides(address: str) -> None:
    bodies = [Body(b"x")]
    Stalls.began = time.monotonic()
    closed = asyncio.run(closed_loop(address, bodies, clients=1, seconds=1.0))
    Stalls.began = time.monotonic()
    opened = asyncio.run(open_loop(address, bodies, rate=50, seconds=1.0))
    assert opened.requests == 50
    assert opened.ms["p95"] > 300  # half of the requests were due during the stall
    assert closed.ms["p50"] < opened.ms["p95"] / 2  # one of its requests waited, however many there were


def test_errors_and_wrong_answers_are_counted_and_requests_are_bounded(address: str) -> None:
    def check(place: int, answer: bytes) -> str:
        return "wrong" if answer == b"b" else ""

    found = asyncio.run(
        closed_loop(address, [Body(b"a"), Body(b"b"), Body(b"fail")], clients=2, seconds=20, requests=30, check=check)
    )
    assert found.requests == 30
    assert found.errors == {"wrong": 10, "500": 10}
    assert json.dumps(found.as_dict())


def test_a_load_test_stays_on_this_machine_and_within_its_bounds() -> None:
    for override, said in (
        ("seconds=4000", "up to 600 seconds"),
        ("rate=0", "above 0"),
        ("input=/nowhere.csv", "no such file"),
        ("output=/nowhere/load.json", "no folder /nowhere"),
    ):
        with pytest.raises(UserError, match=said):
            load(compose(override, command="load").cfg)


def test_a_server_named_by_its_url_leaves_no_evidence_with_the_run(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    keep({"sent": "rows"}, None, str(tmp_path / "mine.json"))
    assert [each.name for each in tmp_path.iterdir()] == ["mine.json"]
    keep({"sent": "rows"}, checkpoint, None)
    assert (tmp_path / "load.json").is_file()


def test_what_a_server_writes_on_standard_error_does_not_stop_it_and_is_quoted_where_it_fails() -> None:
    code = "import sys; sys.stderr.write('x' * 300_000 + chr(10) + 'no such model' + chr(10))"
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, text=True)
        with pytest.raises(UserError, match="did not start: no such model"):
            _address(process, errors)
