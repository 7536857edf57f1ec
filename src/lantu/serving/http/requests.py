"""Read a request's body: rows as JSON, or files, within the server's limits."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from starlette.formparsers import MultiPartException
from starlette.requests import Request

from lantu.serving.http.served import Sent

ENVELOPES = ("inputs", "instances", "dataframe_records", "dataframe_split")
"""Keys under which a body may hold rows; the others are those of other servers' clients."""
MOST_PARTS = 1000
"""Files and fields of a form."""
HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
"""One of the two escapes (surrogates) that a character beyond 65,535 is written with."""
ARROW = "application/vnd.apache.arrow.stream"
"""The content type of rows as an Arrow IPC stream."""


class Refused(Exception):
    """A request that cannot be answered: an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class RequestInputs:
    """The inputs of a request."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    files: list[Sent] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    """Bytes of the request's body."""

    @property
    def count(self) -> int:
        return len(self.rows) + len(self.files)


async def read(request: Request, *, max_bytes: int, max_rows: int) -> RequestInputs:
    """The inputs of a request.

    Raises:
        Refused: it is too large, is no JSON, or holds no inputs.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if int(request.headers.get("content-length") or 0) > max_bytes:
        raise Refused(413, f"the request is larger than {max_bytes:,} bytes, the server's `max_bytes`.")
    if kind == "multipart/form-data":
        inputs, body = await _form(request, max_bytes)
    else:
        body = await _body(request, max_bytes)
        if kind == ARROW:
            inputs = RequestInputs(rows=_arrow(body, max_bytes=max_bytes, max_rows=max_rows))
        else:
            inputs = _json(body) if kind in ("application/json", "text/json") else _raw(kind, body)
    if not inputs.count:
        raise Refused(422, 'the request holds no inputs: send {"inputs": [{...}]}, or files.')
    if inputs.count > max_rows:
        raise Refused(413, f"the request holds {inputs.count:,} inputs, and the server takes {max_rows:,} at once.")
    inputs.size = len(body)
    return inputs


async def json_body(request: Request, *, max_bytes: int) -> dict[str, Any]:
    """A body that is one JSON object.

    Raises:
        Refused: it is not.
    """
    found = _parsed(await _body(request, max_bytes))
    if not isinstance(found, dict):
        raise Refused(422, "the body must be a JSON object.")
    return found


async def _body(request: Request, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise Refused(413, f"the request is larger than {max_bytes:,} bytes, the server's `max_bytes`.")
        parts.append(part)
    return b"".join(parts)


def _parsed(body: bytes) -> Any:
    try:
        found = json.loads(body, object_pairs_hook=_unique)
        if HALF_CHARACTER.search(body):
            json.dumps(found, ensure_ascii=False).encode()  # which fails where its other half is not there
        return found
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ: of two values under one key it is not known which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise Refused(400, f"the key {twice[:100]!r} stands more than once in one object.")
    return found


def _json(body: bytes) -> RequestInputs:
    found = _parsed(body)
    params: dict[str, Any] = {}
    if isinstance(found, dict):
        given = next((name for name in ENVELOPES if name in found), None)
        params = found.get("params") or {}
        found = found[given] if given else [found]
        if given == "dataframe_split":
            found = _split(found)
        if isinstance(found, dict):  # by column, as `dataframe.to_dict("list")` gives it, or one row
            found = _by_column(found)
    if not (isinstance(found, list) and all(isinstance(each, dict) for each in found)):
        raise Refused(422, 'inputs are a list of objects, such as {"inputs": [{"age": 31, "home": "rent"}]}.')
    return RequestInputs(rows=found, params=params)


def _split(found: Any) -> list[dict[str, Any]]:
    try:
        return [dict(zip(found["columns"], values, strict=True)) for values in found["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(422, "`dataframe_split` holds `columns` and `data`, rows of equal length.") from error


def _by_column(found: dict[str, Any]) -> list[dict[str, Any]]:
    if not all(isinstance(each, list) for each in found.values()):
        return [found]
    if len({len(each) for each in found.values()}) > 1:
        raise Refused(422, "the columns of `inputs` have different lengths.")
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


def _arrow(body: bytes, *, max_bytes: int, max_rows: int) -> list[dict[str, Any]]:
    """The rows of an Arrow stream, whose buffers may be compressed: limits apply to what they hold."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    size = 0
    try:
        with pa.ipc.open_stream(body) as stream:
            for batch in stream:
                size += batch.nbytes
                if size > max_bytes or len(rows) + batch.num_rows > max_rows:
                    raise Refused(413, f"the request holds more than {max_bytes:,} bytes or {max_rows:,} rows.")
                rows += batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refused(400, f"the body is no Arrow stream: {str(error).splitlines()[0][:200]}.") from error
    return rows


def as_arrow(answers: list[dict[str, Any]], *, model: str) -> bytes:
    """Answers as an Arrow stream; the model's name and version are metadata of its schema."""
    import pyarrow as pa

    table = pa.Table.from_pylist(answers)
    table = table.replace_schema_metadata({"model": model})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


async def _form(request: Request, max_bytes: int) -> tuple[RequestInputs, bytes]:
    """The files of a form, and the body that it was read from."""
    body = await _body(request, max_bytes)
    request._body = body  # the form is read from what the limit has let through
    try:
        form = await request.form(max_files=MOST_PARTS, max_fields=MOST_PARTS, max_part_size=max_bytes)
    except MultiPartException as error:
        raise Refused(400, f"the form cannot be read: {error.message.rstrip('.')}.") from error
    files = [each for _, each in form.multi_items() if not isinstance(each, str)]
    return RequestInputs(files=[Sent(each.filename or "file", await each.read()) for each in files]), body


def _raw(kind: str, body: bytes) -> RequestInputs:
    """One picture or recording as the body itself."""
    family, _, ending = kind.partition("/")
    if kind == "application/dicom":
        family, ending = "image", "dcm"
    if family not in ("image", "audio") and kind != "application/octet-stream":
        raise Refused(
            415,
            f"`Content-Type: {kind}`: send JSON, an Arrow stream, multipart/form-data, image/*, audio/* or "
            "application/dicom.",
        )
    return RequestInputs(files=[Sent(f"file.{'wav' if ending in ('x-wav', 'wave') else ending}", body)] if body else [])
