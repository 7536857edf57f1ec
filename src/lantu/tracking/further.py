"""What a run has recorded beyond its columns in MLflow: in files for people, in tags for Lantu.

The settings are in the artifact `config/config.yaml`, the further metrics with all their points in `metrics.csv`. For
comparisons of thousands of runs, which cannot open a file of each, the same settings and the last values are tags:
JSON, compressed, in parts of a length that every server takes. MLflow's page hides tags whose names begin with
`mlflow.`.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lantu.notices import warn_once

PREFIX = "mlflow.lantu."
PARAMS, METRICS = "params", "metrics"
FILE = "metrics.csv"
PART = 4900
"""Characters of a tag; servers take 5,000 to 8,000."""
LARGEST = 2**22
"""Bytes of JSON beyond which a tag is not unpacked: a server's word is not trusted with more."""


def to_tags(what: str, content: Mapping[str, Any]) -> dict[str, str]:
    """Content as tags: `mlflow.lantu.metrics`, `mlflow.lantu.metrics.1`, ...; the first says how many there are."""
    text = base64.b85encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)).decode()
    parts = [text[start : start + PART] for start in range(0, len(text), PART)]
    names = [_name(what, number) for number in range(len(parts))]
    return {name: f"{len(parts)} {part}" if not number else part
            for number, (name, part) in enumerate(zip(names, parts, strict=True))}  # fmt: skip


def from_tags(tags: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The content of a run's tags; {} where it has none, or where they are damaged, which is said."""
    first = tags.get(_name(what, 0))
    if not isinstance(first, str):
        return {}
    count, _, text = first.partition(" ")
    try:
        rest = [str(tags[_name(what, number)]) for number in range(1, int(count))]
        return _unpacked("".join([text, *rest]))
    except (ValueError, KeyError, zlib.error):
        warn_once(f"the tag {_name(what, 0)} of a run is damaged: what it records beyond its columns is left out.")
        return {}


def params_of(run: Any) -> dict[str, str]:
    """All parameters of an MLflow run."""
    return {**{name: str(value) for name, value in from_tags(run.data.tags, PARAMS).items()}, **run.data.params}


def metrics_of(run: Any) -> dict[str, float]:
    """The last value of every metric of an MLflow run."""
    further = {name: float(value[0]) for name, value in from_tags(run.data.tags, METRICS).items()}
    return {**further, **run.data.metrics}


@lru_cache(maxsize=4096)  # the runs of a sweep share most of their settings
def _unpacked(text: str) -> dict[str, Any]:
    unpacker = zlib.decompressobj()
    found = json.loads(unpacker.decompress(base64.b85decode(text), LARGEST))
    if not isinstance(found, dict):
        raise ValueError("no mapping")
    return found


def _name(what: str, number: int) -> str:
    return f"{PREFIX}{what}" if not number else f"{PREFIX}{what}.{number}"
