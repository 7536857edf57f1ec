"""`lantu models`: the registered models, their versions, and what was decided last."""

import argparse
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.cli.common_options import add_json_option, add_store_option, pager
from lantu.cli.run_listing import as_json


def models_main(argv: list[str]) -> int:
    """List every version of every registered model, the newest first; returns 0."""
    parser = argparse.ArgumentParser(prog="lantu models", description="List registered models and their versions.")
    add_store_option(parser)
    parser.add_argument("--tracking-uri", metavar="URI", help="a tracking server or database instead of the store")
    add_json_option(parser)
    asked = parser.parse_args(argv)
    rows = _versions(asked)
    if asked.json:
        print(as_json(rows))
    elif rows:
        _show(rows)
    else:
        print("No model is registered here: lantu register run=best:EXPERIMENT name=NAME")
    return 0


def _versions(asked: Any) -> list[dict[str, Any]]:
    from lantu.registry.mlflow_registry import WEIGHTS, Registry
    from lantu.tracking.mlflow_runs import open_client
    from lantu.tracking.store import embedded_uri

    if asked.tracking_uri is None and not (asked.store / "mlflow.db").is_file():
        return []
    client = open_client("models", asked.store, asked.tracking_uri)
    registry = Registry(client, asked.tracking_uri or embedded_uri(asked.store))
    rows = []
    for model in client.search_registered_models(max_results=1000):
        aliases = registry.aliases(model.name)
        history = registry.history(model.name)
        for each in sorted(client.search_model_versions(f"name='{model.name}'"), key=lambda one: -int(one.version)):
            version = str(each.version)
            decisions = [decision for decision in history if str(decision.get("version")) == version]
            rows.append(
                {
                    "model": model.name,
                    "version": version,
                    "aliases": sorted(alias for alias, of in aliases.items() if of == version),
                    "run": each.run_id,
                    "registered": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each.creation_timestamp / 1000)),
                    "weights": each.tags.get(WEIGHTS),
                    "last decision": decisions[-1] if decisions else None,
                }
            )
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("model", "version", "aliases", "run", "registered", "last decision"):
        table.add_column(name, overflow="fold" if name == "model" else "ellipsis", no_wrap=name != "model")
    for each in rows:
        last = each["last decision"] or {}
        decided = f"{last.get('what', '')} {str(last.get('at', ''))[:10]}".strip()
        cells = (
            each["model"], each["version"], ", ".join(each["aliases"]), str(each["run"])[:8], each["registered"][:10],
            decided,
        )  # fmt: skip
        table.add_row(*(escape(cell) for cell in cells))
    with pager(console, rows=len(rows)):
        console.print(table)
