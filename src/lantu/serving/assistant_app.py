"""The assistant over HTTP, on loopback: a page, and an answer that arrives stage by stage."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from lantu.errors import UserError
from lantu.inference.rebuild import Rebuilt
from lantu.inference.voice_assistant import assist
from lantu.serving.assistant_page import assistant_page
from lantu.serving.http.requests import Refused, read

MAX_BYTES = 32_000_000
LOOPBACK = ["localhost", "127.0.0.1"]


def build_assistant(models: Mapping[str, Rebuilt], runs: Mapping[str, str]) -> FastAPI:
    """The application: `GET /` is the page, `POST /answer` takes a recording and streams a line of JSON for each stage.

    Args:
        models: of each stage, as `lantu.inference.voice_assistant.load` gives them.
        runs: of each stage, as they were typed.
    """
    app = FastAPI(title="assistant", docs_url=None, redoc_url=None, openapi_url=None)
    # a page elsewhere whose name leads to this machine has another host, and is refused
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)
    one_at_a_time = threading.Lock()

    async def page(request: Request) -> Response:
        return HTMLResponse(assistant_page(runs.items()))

    async def answer(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return JSONResponse({"error": "a page of another site asked."}, 403)
        try:
            asked = await read(request, max_bytes=MAX_BYTES, max_rows=1)
        except Refused as error:
            return JSONResponse({"error": str(error)}, error.status)
        if not asked.files:
            return JSONResponse({"error": "send a recording: `Content-Type: audio/wav` and its bytes."}, 422)
        return StreamingResponse(
            _lines(asked.files[0].content, models, one_at_a_time), media_type="application/x-ndjson"
        )

    app.router.add_route("/", page, methods=["GET"])
    app.router.add_route("/answer", answer, methods=["POST"])
    return app


def _lines(recording: bytes, models: Mapping[str, Rebuilt], lock: threading.Lock) -> Iterator[str]:
    """Yield a line of JSON as each stage ends; the last one is an error if a stage failed."""
    with lock:
        try:
            for step in assist(recording, models):
                line: dict[str, Any] = {
                    name: getattr(step, name) for name in ("stage", "text", "confidence", "seconds")
                }
                yield json.dumps(line | {"audio": step.audio and b64encode(step.audio).decode()}) + "\n"
        except UserError as error:
            yield json.dumps({"error": str(error)}) + "\n"
