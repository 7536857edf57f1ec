"""OpenAI-compatible completions for language models, token by token where asked for."""

import asyncio
import itertools
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from lantu.errors import UserError
from lantu.serving.http.requests import Refused, json_body
from lantu.serving.http.served import Record, ServedModel

MOST_TOKENS = 4096
_TURN = threading.Lock()
"""Texts are written one after the other: the cache of keys and values is one sequence's."""


def respond(model: ServedModel, rows: list[Record], params: dict[str, Any]) -> list[Record]:
    """What `/predict` answers for prompts."""
    import pandas as pd

    if any(not isinstance(each.get("prompt"), str) for each in rows):
        raise UserError('a language model takes {"inputs": [{"prompt": "..."}]}.')
    if not isinstance(params, dict):
        raise UserError('`params` is an object, such as {"tokens": 50}.')
    _check_tokens(params.get("tokens", 1), "params.tokens")
    with _TURN:
        return [dict(each) for each in model.task.respond(model.data, pd.DataFrame(rows), params).to_dict("records")]


class Writer:
    """The routes under /v1.

    Args:
        current: gives the model.
        max_bytes: of a request.
    """

    def __init__(self, current: Callable[[], ServedModel], max_bytes: int) -> None:
        self._current = current
        self._max_bytes = max_bytes

    async def models(self, request: Request) -> Response:
        """The model, as OpenAI lists models."""
        model = self._current()
        return JSONResponse({"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "lantu"}]})

    async def completions(self, request: Request) -> Response:
        """Write on from a prompt."""
        body = await json_body(request, max_bytes=self._max_bytes)
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            (prompt,) = prompt
        if not isinstance(prompt, str) or not prompt:
            raise Refused(422, "`prompt` is a text of at least one character.")
        return await self._write(body, prompt, chat=False)

    async def chat(self, request: Request) -> Response:
        """Answer the last message of a conversation."""
        body = await json_body(request, max_bytes=self._max_bytes)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused(422, "`messages` is a list that ends with the user's.")
        asked = [each for each in messages if isinstance(each, dict) and each.get("role") == "user"]
        text = asked[-1].get("content") if asked else None
        if not isinstance(text, str) or not text:
            raise Refused(422, "the last message of `role: user` has no text in `content`.")
        return await self._write(body, text, chat=True)

    async def _write(self, body: dict[str, Any], text: str, *, chat: bool) -> Response:
        model = self._current()
        prompt = model.data.prompt(text)
        options = _options(body, model)
        about: dict[str, Any] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": model.name,
        }
        pieces = _pieces(model, prompt, options)
        first = await asyncio.to_thread(next, pieces, None)  # a wrong option is answered with its sentence
        if body.get("stream"):
            about["object"] += ".chunk" if chat else ""
            whole = itertools.chain([] if first is None else [first], pieces)
            events = _events(whole, about, chat=chat, ended=lambda text: _finish_reason(model, text, options))
            return StreamingResponse(events, media_type="text/event-stream")
        rest = await asyncio.to_thread(lambda: "".join(pieces))
        written = (first or "") + rest
        read, wrote = len(model.data.encode(prompt)), len(model.data.encode(written)) if written else 0
        reason = _finish_reason(model, written, options)
        told = {"message": {"role": "assistant", "content": written}} if chat else {"text": written}
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        return JSONResponse({**about, "choices": [{"index": 0, **told, "finish_reason": reason}], "usage": usage})


def _options(body: dict[str, Any], model: ServedModel) -> dict[str, Any]:
    tokens = body.get("max_tokens") or body.get("max_completion_tokens") or 200
    _check_tokens(tokens, "max_tokens")
    stop = body.get("stop") or model.data.stops
    options: dict[str, Any] = {"tokens": tokens, "stop": [stop] if isinstance(stop, str) else list(stop)}
    for name, default in (("temperature", 1.0), ("top_p", None), ("top_k", None)):
        value = body.get(name, default)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise Refused(422, f"`{name}` is a number.")
        options[name] = value
    if "seed" in body and isinstance(body["seed"], int):
        options["generator"] = torch.Generator().manual_seed(body["seed"] % 2**63)
    return options


def _check_tokens(tokens: Any, name: str) -> None:
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 1 <= tokens <= MOST_TOKENS:
        raise Refused(422, f"`{name}` is a whole number from 1 to {MOST_TOKENS}.")


def _pieces(model: ServedModel, prompt: str, options: dict[str, Any]) -> Iterator[str]:
    """What follows a prompt; each piece is drawn while no other text is."""
    pieces = model.task.stream(model.data.encode, model.data.decode, prompt=prompt, **options)
    while True:
        with _TURN:
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _finish_reason(model: ServedModel, written: str, options: dict[str, Any]) -> str:
    """OpenAI's word for why a text ends: at the largest number of tokens, or by itself."""
    return "length" if written and len(model.data.encode(written)) >= options["tokens"] else "stop"


async def _events(
    pieces: Iterator[str], about: dict[str, Any], *, chat: bool, ended: Callable[[str], str]
) -> AsyncIterator[str]:
    """Server-sent events, the last of which says [DONE]; `ended` gives the reason why a text ends."""
    written = ""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        written += piece
        told: dict[str, Any] = {"delta": {"content": piece}} if chat else {"text": piece}
        yield _event({**about, "choices": [{"index": 0, **told, "finish_reason": None}]})
    told = {"delta": {}} if chat else {"text": ""}
    yield _event({**about, "choices": [{"index": 0, **told, "finish_reason": ended(written)}]})
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
