"""Keep credentials out of what is recorded: parameters, tags, command lines, URIs, differences, log lines.

Three things count as a credential: a value whose name says so (`password`, `api_key`), text of a well-known
shape (`user:secret@host`, `Bearer ...`, `ghp_...`), and the value of an environment variable whose name says
so, wherever it turns up.
"""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

SHORT, LONG = 200, 100_000
"""Characters of a text up to which its redacted form is kept: of thousands of short texts, and of a few long ones."""
HIDDEN = "REDACTED"  # a plain word in YAML, JSON, shells and URIs, so that what is left still parses
_NOT_SECRET = {"PWD", "OLDPWD"}  # folders

# What may stand before these does not matter, so patterns begin with them and stay linear in the text's
# length. `pad_token`, `max_tokens` and `tokenizer` are not secrets: a token needs an owner that makes it one.
_SECRET = (
    r"(?:passwd|password|passphrase|secret|credentials?|private_?key|api_?key|access_?key|secret_?key|auth_?key"
    r"|(?<![a-z])pwd|(?:auth|access|api|hf|hub|bearer|refresh|session|github|gitlab|bot|tracking|security|wandb)[_\-]?token"
    r"|(?<![a-z0-9_\-])token)"
)
_SECRET_NAME = re.compile(rf"{_SECRET}$", re.IGNORECASE)
_SHAPES = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|hf_[A-Za-z0-9]{20,}|\bsk-[\w-]{20,}"
    r"|xox[abpr]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|dapi[0-9a-f]{32}|AIza[\w-]{35}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"
)
_IN_URI = re.compile(r"(?<=://)[^\s/'\"]+(?=@)")  # a password may hold an @ itself
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_IN_QUERY = re.compile(rf"({_SECRET}=|[?&](?:sig|x-amz-signature|x-amz-credential)=)[^&\s'\"#]+", re.IGNORECASE)
_QUOTED = r"(?P<quote>['\"])(?:(?!(?P=quote))[^\n])+"
# `--password x`, `password: 'x'`, a line `password: x`; code such as `token = next(tokens)` stays readable
_OPTION = re.compile(rf"(?<=-)({_SECRET}\s+)(?:{_QUOTED}|(?!-)[^\s'\"]+)", re.IGNORECASE)
_ASSIGNED = re.compile(rf"({_SECRET}['\"]?\s*[:=]\s*){_QUOTED}", re.IGNORECASE)
_CONFIG = re.compile(
    rf"({_SECRET}['\"]?[ \t]*[:=][ \t]*)(?!null\b|None\b)[^\s'\"(\[{{]+[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_FRAGMENTS = ("passw", "passp", "secret", "credential", "key", "pwd", "token", "sig=", "x-amz")
"""What a text has, in lower case, in which one of the four patterns above that begin with a name finds anything."""


def redact(text: str) -> str:
    """The text with every credential in it replaced by `REDACTED`."""
    return _without(_secrets(), text)


def _secrets() -> tuple[str, ...]:
    return _secret_values(tuple(os.environ.items()))


def _without(secrets: tuple[str, ...], text: str) -> str:
    # a run redacts each of its parameters four times, and a sweep's trials have nearly the same ones; among the long
    # texts is the list of installed packages
    keep = _short_redacted if len(text) <= SHORT else _long_redacted if len(text) <= LONG else _redacted
    return keep(text, secrets)


def _redacted(text: str, secrets: tuple[str, ...]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    text = _IN_URI.sub(_user, text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    folded = text.casefold()
    if any(fragment in folded for fragment in _FRAGMENTS):
        for pattern in (_OPTION, _ASSIGNED):
            text = pattern.sub(lambda match: f"{match[1]}{match['quote'] or ''}{HIDDEN}", text)
        for pattern in (_CONFIG, _IN_QUERY):
            text = pattern.sub(rf"\1{HIDDEN}", text)
    return _SHAPES.sub(HIDDEN, text)


_short_redacted = lru_cache(maxsize=4096)(_redacted)
_long_redacted = lru_cache(maxsize=16)(_redacted)


def redact_tree(tree: Any, name: str = "") -> Any:
    """A structure of mappings and lists, redacted leaf by leaf; a leaf is hidden whole where its name says so."""
    return _redacted_tree(tree, name, _secrets())


def _redacted_tree(tree: Any, name: str, secrets: tuple[str, ...]) -> Any:
    if isinstance(tree, str):
        if tree in ("", "None", "null", HIDDEN):
            return tree
        return HIDDEN if is_secret(name) else _without(secrets, tree)
    if isinstance(tree, Mapping):
        return {key: _redacted_tree(value, str(key), secrets) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_redacted_tree(value, name, secrets) for value in tree]
    return tree


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a name says that what it holds is a credential."""
    return _SECRET_NAME.search(name) is not None


def _user(match: re.Match[str]) -> str:
    user, colon, _ = match[0].partition(":")
    return f"{user}:{HIDDEN}" if colon else HIDDEN


@lru_cache(maxsize=8)  # a run redacts hundreds of texts in one environment
def _secret_values(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Secret values in the environment, longest first, so that no part of one stays behind."""
    found = {value for name, value in environment if len(value) >= 8 and is_secret(name) and name not in _NOT_SECRET}
    for _, value in environment:  # such as MLFLOW_TRACKING_URI, whose password a library may print by itself
        for match in _IN_URI.finditer(value):
            password = match[0].partition(":")[2]
            found |= {each for each in (password, unquote(password)) if len(each) >= 6}
    return tuple(sorted(found, key=len, reverse=True))
