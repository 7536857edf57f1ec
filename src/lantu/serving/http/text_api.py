"""OpenAI-compatible completions for language models, token by token where asked for."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from lantu.errors import UserError
from lantu.serving.http.requests import Refused, json_body
from lantu.serving.http.served import Record, ServedModel
from lantu.serving.http.writer import Piece, Writer

MOST_TOKENS = 4096
MOST_TEXTS = 16
"""Texts of one request to /v1."""
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "echo": (False, None), "logprobs": (False, None), "best_of": (1, None), "suffix": (None, ""), "tools": (None, []),
    "logit_bias": (None, {}), "presence_penalty": (0, None), "frequency_penalty": (0, None),
    "response_format": (None, {"type": "text"}),
}  # fmt: skip
"""Options of OpenAI's that this server does not have, with the values that change nothing."""
Options = dict[str, Any]


async def respond(model: ServedModel, writer: Writer, rows: list[Record], params: Options) -> list[Record]:
    """What `/predict` answers for prompts: each with what follows it, or the recording of a text."""
    if not isinstance(params, dict):
        raise UserError('`params` is an object, such as {"tokens": 50}.')
    if model.task.speaks:
        return await asyncio.to_thread(_spoken, model, rows, params)
    if any(not isinstance(each.get("prompt"), str) for each in rows):
        raise UserError('a language model takes {"inputs": [{"prompt": "..."}]}.')
    _check_tokens(params.get("tokens", 1), "params.tokens")
    known = ("tokens", "temperature", "top_k", "top_p", "repetition_penalty", "stop")
    if unknown := [each for each in params if each not in known]:
        raise UserError(f"`params.{unknown[0]}`: there is no such option; there are {', '.join(known)}.")
    prompts = [model.data.prompt(each["prompt"]) for each in rows]
    stop = params.get("stop", model.data.stops)
    options = {"tokens": 200, **params, "stop": _stops(stop)}
    texts = [*prompts]
    async with aclosing(writer.write(model, prompts, [options] * len(prompts))) as pieces:
        async for piece in pieces:
            texts[piece.index] += piece.text
    return [{"text": each} for each in texts]


def _spoken(model: ServedModel, rows: list[Record], params: Options) -> list[Record]:
    import pandas as pd

    texts = [each.get("text", each.get("prompt")) for each in rows]
    if not all(isinstance(each, str) for each in texts):
        raise UserError('a speech model takes {"inputs": [{"text": "..."}]}.')
    found = model.task.respond(model.data, pd.DataFrame({"text": texts}), params)
    return [{"audio": base64.b64encode(each).decode(), "type": "audio/wav"} for each in found["audio"]]


class TextApi:
    """The routes under /v1.

    Args:
        current: gives the model.
        writer: writes the texts.
        max_bytes: of a request.
    """

    def __init__(self, current: Callable[[], ServedModel], writer: Writer, max_bytes: int) -> None:
        self._current = current
        self._writer = writer
        self._max_bytes = max_bytes

    async def models(self, request: Request) -> Response:
        """The model, as OpenAI lists models."""
        model = self._current()
        return JSONResponse({"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "lantu"}]})

    async def completions(self, request: Request) -> Response:
        """Write on from one prompt or several."""
        body = await json_body(request, max_bytes=self._max_bytes)
        prompts = body.get("prompt")
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not (isinstance(prompts, list) and prompts and all(isinstance(each, str) and each for each in prompts)):
            raise Refused(422, "`prompt` is a text of at least one character, or a list of such texts.")
        return await self._write(body, prompts, chat=False)

    async def chat(self, request: Request) -> Response:
        """Answer the last message of a conversation."""
        body = await json_body(request, max_bytes=self._max_bytes)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused(422, "`messages` is a list that ends with the user's.")
        questions = [each for each in messages if isinstance(each, dict) and each.get("role") == "user"]
        text = _content(questions[-1].get("content")) if questions else None
        if not text:
            raise Refused(422, "the last message of `role: user` has no text in `content`.")
        unread = len(messages) - 1
        warning = f"{unread} of {len(messages)} messages were not read: this model answers the user's last one alone"
        return await self._write(body, [text], chat=True, warnings=[warning] if unread else [])

    async def _write(
        self, body: dict[str, Any], texts: list[str], *, chat: bool, warnings: list[str] | None = None
    ) -> Response:
        model = self._current()
        _check_known(body, model)
        prompts = [model.data.prompt(each) for each in texts for _ in range(_copies(body))]
        if len(prompts) > MOST_TEXTS:
            raise Refused(422, f"a request may ask for {MOST_TEXTS} texts, and this one asks for {len(prompts)}.")
        options = [_options(body, model, number) for number in range(len(prompts))]
        about: dict[str, Any] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": model.name,
            **({"warnings": warnings} if warnings else {}),
        }
        read = sum(len(model.data.encode(each)) for each in prompts)
        pieces = self._writer.write(model, prompts, options)
        if body.get("stream"):
            first = await anext(pieces)  # a wrong option is answered with its sentence and status
            about["object"] += ".chunk" if chat else ""
            counted = (body.get("stream_options") or {}).get("include_usage")
            events = _events(first, pieces, about, chat=chat, read=read if counted else None)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        written, ends = [""] * len(prompts), [Piece(0, "", 0)] * len(prompts)
        async with aclosing(pieces):
            async for piece in pieces:
                written[piece.index] += piece.text
                ends[piece.index] = piece
        choices = [
            {
                "index": index,
                **({"message": {"role": "assistant", "content": text}} if chat else {"text": text}),
                "logprobs": None,
                "finish_reason": end.reason,
            }
            for index, (text, end) in enumerate(zip(written, ends, strict=True))
        ]
        usage = _usage(read, sum(each.tokens for each in ends))
        return JSONResponse({**about, "choices": choices, "usage": usage})


def _content(content: Any) -> str | None:
    """The text of a message: a string, or OpenAI's list of parts where all of them are text."""
    if isinstance(content, list) and all(isinstance(each, dict) and each.get("type") == "text" for each in content):
        return "".join(str(each.get("text", "")) for each in content)
    return content if isinstance(content, str) else None


def _check_known(body: dict[str, Any], model: ServedModel) -> None:
    """Refuse what would be answered otherwise than it was asked."""
    named = body.get("model")
    if named not in (None, "", model.name, f"{model.name}/{model.version}"):
        raise Refused(404, f"the model `{str(named)[:100]}` is not served here; `{model.name}` is.")
    for name, harmless in UNSUPPORTED.items():
        if name in body and body[name] not in harmless:
            raise Refused(422, f"`{name}` is an option that this server does not have.")


def _copies(body: dict[str, Any]) -> int:
    number = body.get("n", 1)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise Refused(422, "`n` is a whole number from 1.")
    return min(number, MOST_TEXTS + 1)


def _options(body: dict[str, Any], model: ServedModel, number: int) -> Options:
    """How one of a request's texts is drawn."""
    given = [body[name] for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    tokens = given[0] if given else 200
    _check_tokens(tokens, "max_tokens")
    options: Options = {"tokens": tokens, "stop": _stops(body.get("stop") or model.data.stops)}
    for name, default in (("temperature", 1.0), ("top_p", None), ("top_k", None), ("repetition_penalty", 1.0)):
        value = default if body.get(name) is None else body[name]
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise Refused(422, f"`{name}` is a number.")
        options[name] = value
    if body.get("seed") is not None:
        if not isinstance(body["seed"], int) or isinstance(body["seed"], bool):
            raise Refused(422, "`seed` is a whole number.")
        device = next(model.task.net.parameters()).device
        options["generator"] = torch.Generator(device).manual_seed((body["seed"] + number) % 2**63)
    return options


def _stops(stop: Any) -> list[str]:
    found = [stop] if isinstance(stop, str) else stop or []
    if not (isinstance(found, list | tuple) and all(isinstance(each, str) and each for each in found)):
        raise Refused(422, "`stop` is a text of at least one character, or a list of such texts.")
    return list(found)


def _check_tokens(tokens: Any, name: str) -> None:
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 1 <= tokens <= MOST_TOKENS:
        raise Refused(422, f"`{name}` is a whole number from 1 to {MOST_TOKENS}.")


def _usage(read: int, wrote: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


async def _events(
    first: Piece, pieces: AsyncGenerator[Piece, None], about: dict[str, Any], *, chat: bool, read: int | None
) -> AsyncIterator[str]:
    """Server-sent events, the last of which says [DONE].

    Args:
        read: tokens of the prompts, where the usage is asked for.
    """
    started: set[int] = set()
    wrote: dict[int, int] = {}
    async with aclosing(pieces):
        async for piece in _chained(first, pieces):
            wrote[piece.index] = piece.tokens
            role = {} if piece.index in started else {"role": "assistant"}
            started.add(piece.index)
            content: dict[str, Any] = {"delta": {**role, "content": piece.text}} if chat else {"text": piece.text}
            choice = {"index": piece.index, **content, "logprobs": None, "finish_reason": piece.reason}
            yield _event({**about, "choices": [choice]})
    if read is not None:
        yield _event({**about, "choices": [], "usage": _usage(read, sum(wrote.values()))})
    yield "data: [DONE]\n\n"


async def _chained(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
