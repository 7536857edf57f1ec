"""Versions of registered models: `models:/NAME@ALIAS` and `models:/NAME/VERSION`."""

import re
from dataclasses import dataclass
from typing import Any

from lantu.errors import UserError
from lantu.tracking.mlflow_client import FAILED

REGISTERED = "models:/"
_NAMED = re.compile(r"models:/(?P<name>[^@/:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str


def resolve(client: Any, uri: str) -> RegisteredVersion:
    """The version that a URI names now.

    Args:
        client: MLflow's.
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.

    Raises:
        UserError: the URI is none, or nothing is registered under it.
    """
    named = _NAMED.fullmatch(uri)
    if named is None:
        raise UserError(f"`run={uri}`: a registered model is named models:/NAME@ALIAS or models:/NAME/VERSION.")
    return find(client, named["name"], alias=named["alias"], version=named["version"])


def find(client: Any, name: str, *, alias: str | None = None, version: str | None = None) -> RegisteredVersion:
    """A version by its alias or its number.

    Raises:
        UserError: there is none; the message says which there are.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code == FAILED:
            raise
        uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}"
        raise UserError(f"`{uri}`: {_instead(client, name)}") from error
    return RegisteredVersion(name, str(found.version), str(found.run_id))


def _instead(client: Any, name: str) -> str:
    from lantu.suggestions import did_you_mean

    known = [each.name for each in client.search_registered_models()]
    if name not in known:
        there = f" There are: {', '.join(known)}." if known else ""
        hint = did_you_mean(name, known)
        return (
            f"no model is registered as `{name}`.{hint}{there} "
            f"`lantu register run=... name={name} alias=candidate` registers one."
        )
    aliases = ", ".join(f"@{each}" for each in client.get_registered_model(name).aliases) or "none"
    return f"`{name}` has no such version or alias; its aliases are: {aliases}."
