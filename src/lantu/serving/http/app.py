"""The server's routes: answers, health, metrics, a page to try the model, and its OpenAPI description."""

import asyncio
import hmac
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lantu.errors import UserError
from lantu.serving.http import text_api
from lantu.serving.http.batching import Batcher, Overloaded
from lantu.serving.http.description import openapi
from lantu.serving.http.holder import Holder, described
from lantu.serving.http.request_sample import RequestSample
from lantu.serving.http.requests import ARROW, Refused, RequestInputs, as_arrow, read
from lantu.serving.http.served import Prepared, ServedModel, table_columns
from lantu.serving.http.try_page import page
from lantu.serving.http.watching import Watch
from lantu.serving.http.writer import Writer

OPEN = ("/health", "/ready", "/")
"""Paths that need no token. The page at / shows the model's name, its version and the names of its inputs."""
CLIENT_GONE = 499
"""The status in log and metrics of a request whose client has gone; nginx's number for it."""
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Limits:
    """What a server takes."""

    max_bytes: int = 32_000_000
    max_rows: int = 1000
    max_batch: int = 64
    max_texts: int = 16
    """Texts that a language model writes at once."""
    max_waiting: int = 256
    timeout: float = 30.0
    """Seconds until a request is given up."""
    reload_every: float = 5.0
    """Seconds between looks for a promotion; 0: never."""


class Server:
    """The state behind the routes."""

    def __init__(
        self,
        holder: Holder,
        watch: Watch,
        limits: Limits,
        token: str | None,
        *,
        hosts: frozenset[str] | None = None,
        sample: RequestSample | None = None,
    ) -> None:
        """
        Args:
            token: that clients send; None: none is asked for.
            hosts: names under which requests may reach the server; None: any.
            sample: keeps a share of the rows; None: none is kept.
        """
        self.hosts = hosts
        self.sample = sample
        self._sampled: ServedModel | None = None
        self.holder = holder
        self.watch = watch
        self.limits = limits
        self.token = token
        self.batcher = Batcher(
            holder.current, max_batch=limits.max_batch, max_waiting=limits.max_waiting, observe=watch.batch
        )
        self.writer = Writer(most=limits.max_texts, max_waiting=limits.max_waiting, observe=watch.batch)
        self.ready = False

    async def predict(self, request: Request) -> Response:
        """Answer rows or files."""
        inputs = await read(request, max_bytes=self.limits.max_bytes, max_rows=self.limits.max_rows)
        request.state.rows = inputs.count
        model = self.holder.current()
        if model.prompted:
            answers = await text_api.respond(model, self.writer, inputs.rows, inputs.params)
        else:
            answers, model = await self.batcher.ask(lambda each: _prepare(each, inputs), inputs.count, size=inputs.size)
            if self.sample is not None and inputs.rows:
                self._keep(self.sample, model, inputs.rows)
        named = f"{model.name}/{model.version}"
        if ARROW in request.headers.get("accept", ""):
            return Response(as_arrow(answers, model=named), media_type=ARROW)
        return JSONResponse({"predictions": answers, "model": named})

    def _keep(self, sample: RequestSample, model: ServedModel, rows: list[dict[str, Any]]) -> None:
        """Keep a share of the rows, by the columns of the model that answered them."""
        if model is not self._sampled:
            if self._sampled is not None:
                sample.use(table_columns(model))
            self._sampled = model
        sample.add(rows)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def is_ready(self, request: Request) -> Response:
        return JSONResponse({"status": "ready" if self.ready else "not ready"}, status_code=200 if self.ready else 503)

    async def metrics(self, request: Request) -> Response:
        self.watch.waiting.set(self.batcher.waiting + self.writer.waiting)
        return Response(self.watch.exposition(), media_type="text/plain; version=0.0.4")

    async def model(self, request: Request) -> Response:
        return JSONResponse(described(self.holder.current()))

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page(self.holder.current(), needs_token=self.token is not None))

    async def reload(self, request: Request) -> Response:
        return JSONResponse({"reloaded": await self.holder.reload(), **described(self.holder.current())})

    def guarded(self, handler: Handler) -> Handler:
        """A handler with token, time limit, errors as sentences, metrics and log."""

        async def call(request: Request) -> Response:
            began, path = time.perf_counter(), request.scope["path"]
            request.state.rows = 0
            request_id = request.headers.get("x-request-id", "")[:64] or f"{random.getrandbits(64):016x}"
            response = await self._answered(handler, request)
            response.headers["x-request-id"] = request_id
            self.watch.request(
                path=path, status=response.status_code, seconds=time.perf_counter() - began, rows=request.state.rows,
                version=self.holder.model.version, request_id=request_id,
            )  # fmt: skip
            return response

        return call

    async def _answered(self, handler: Handler, request: Request) -> Response:
        try:
            self._check_host(request)
            if request.scope["path"] not in OPEN:
                self._check_token(request)
            async with asyncio.timeout(self.limits.timeout):
                return await handler(request)
        except Refused as error:
            return _error(error.status, str(error))
        except Overloaded:
            return _error(503, "the server is at its limit; try again shortly.", {"Retry-After": "1"})
        except TimeoutError:
            return _error(504, f"no answer within {self.limits.timeout:g} seconds, the server's `timeout`.")
        except UserError as error:
            return _error(422, str(error))
        except ClientDisconnect:
            return _error(CLIENT_GONE, "the client closed the connection before the request was complete.")
        except Exception as error:
            # not the error's own words, which may quote what a person sent
            self.watch.say("error", path=request.scope["path"], kind=type(error).__name__, at=_places(error))
            return _error(500, f"the model failed on this request ({type(error).__name__}); the log says more.")

    def _check_host(self, request: Request) -> None:
        """Refuse a name that is not this server's: a web page could have its own name resolve to this machine.

        Such a page (DNS rebinding) would be of the server's origin for the browser, and could read every answer.
        """
        if self.hosts is None:
            return
        given = request.headers.get("host", "")
        name = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
        if name.strip("[]").lower() not in self.hosts:
            raise Refused(421, f"this server is not reached as `{given[:100]}`: `hosts=[NAME]` allows another name.")

    def _check_token(self, request: Request) -> None:
        if self.token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise Refused(401, "this server needs a token: send `Authorization: Bearer TOKEN`.")

    @asynccontextmanager
    async def life(self, app: Starlette) -> AsyncIterator[None]:
        """Answer from start to stop."""
        self.batcher.start()
        self.writer.start()
        every = self.limits.reload_every
        following = asyncio.create_task(self.holder.follow(every)) if every and self.holder.source.version() else None
        self.ready = True
        self.watch.say("ready", model=f"{self.holder.model.name}/{self.holder.model.version}")
        try:
            yield
        finally:
            self.ready = False
            if following is not None:
                following.cancel()
            await self.batcher.stop()
            await self.writer.stop()
            if self.sample is not None:
                await asyncio.to_thread(self.sample.close)
            self.watch.say("stopped")


class Application:
    """Calls the handler of a known path at once, and leaves the rest (start, stop, 404, 405) to Starlette.

    FastAPI's and Starlette's layers and their search for the route take as long as the rest of a small request.
    """

    def __init__(self, server: Server, routes: dict[str, tuple[str, Handler]]) -> None:
        self._known = {(method, path): handler for path, (method, handler) in routes.items()}
        paths = [Route(path, handler, methods=[method]) for path, (method, handler) in routes.items()]
        self._rest = Starlette(routes=paths, lifespan=server.life)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._known.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handler is None:
            await self._rest(scope, receive, send)
            return
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)


def build_app(server: Server) -> Application:
    """The application that uvicorn runs."""
    routes: dict[str, tuple[str, Handler]] = {
        "/": ("GET", server.page),
        "/health": ("GET", server.health),
        "/ready": ("GET", server.is_ready),
        "/metrics": ("GET", server.metrics),
        "/model": ("GET", server.model),
        "/reload": ("POST", server.reload),
        "/predict": ("POST", server.predict),
        "/invocations": ("POST", server.predict),
    }
    if server.holder.model.prompted and not server.holder.model.task.speaks:
        api = text_api.TextApi(server.holder.current, server.writer, server.limits.max_bytes)
        routes |= {
            "/v1/models": ("GET", api.models),
            "/v1/completions": ("POST", api.completions),
            "/v1/chat/completions": ("POST", api.chat),
        }

    async def description(request: Request) -> Response:
        return Response(json.dumps(openapi(server.holder.current(), routes)), media_type="application/json")

    routes["/openapi.json"] = ("GET", description)
    guarded = {path: (method, server.guarded(handler)) for path, (method, handler) in routes.items()}
    return Application(server, guarded)


def _prepare(model: ServedModel, inputs: RequestInputs) -> Prepared:
    if inputs.files:
        return model.prepare_files(inputs.files)
    return model.prepare_rows(inputs.rows)


def _places(error: BaseException) -> list[str]:
    """The last lines of the program that an error went through, the innermost last."""
    return [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in extract_tb(error.__traceback__)[-6:]]


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": sentence, "type": kind, "code": status}}, status, headers=headers)
