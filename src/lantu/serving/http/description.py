"""The OpenAPI description of a server, made from the model's signature."""

from typing import Any

from lantu.errors import UserError
from lantu.serving.http.served import ServedModel

TYPES = {
    "double": "number", "float": "number", "long": "integer", "integer": "integer", "boolean": "boolean",
    "string": "string", "datetime": "string", "binary": "string",
}  # fmt: skip
"""JSON's types by MLflow's."""


def openapi(model: ServedModel, routes: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.1 of the routes, with the columns of requests and answers."""
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object", "properties": {"inputs": rows}}}}
    if model.takes_files():
        files = {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}}
        content = {"multipart/form-data": {"schema": {"type": "object", "properties": files}}}
    answer = {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}
    answered = {"type": "object", "properties": {"predictions": answer, "model": {"type": "string"}}}
    paths: dict[str, Any] = {}
    for path, (method, handler) in routes.items():
        operation: dict[str, Any] = {
            "summary": (handler.__doc__ or path.strip("/") or "page").strip().splitlines()[0],
            "responses": {"200": {"description": "the answer"}},
        }
        if path in ("/predict", "/invocations"):
            operation["requestBody"] = {"required": True, "content": content}
            operation["responses"]["200"]["content"] = {"application/json": {"schema": answered}}
            for status, why in ((401, "no token"), (413, "too large"), (422, "inputs that do not fit"), (503, "busy")):
                operation["responses"][str(status)] = {"description": why}
        paths[path] = {method.lower(): operation}
    columns = {each["name"]: {"type": [TYPES.get(each["type"], "string"), "null"]} for each in model.schema()}
    return {
        "openapi": "3.1.0",
        "info": {"title": model.name, "version": model.version},
        "paths": paths,
        "components": {
            "schemas": {
                "Row": {"type": "object", "properties": columns, "required": [*columns]},
                "Prediction": {"type": "object", "properties": _answer_columns(model)},
            }
        },
    }


def _answer_columns(model: ServedModel) -> dict[str, Any]:
    try:
        schema = model.task.output_signature()
    except UserError:
        return {}
    return {each.name: {"type": TYPES.get(each.type.name, "string")} for each in schema.inputs if each.name}
