"""The catalogue: every data set, model and recipe with its sentence, and which models fit which data."""

import argparse
import json
from dataclasses import asdict, dataclass

from lantu.cli.common_options import add_json_option
from lantu.config.composing import config_search
from lantu.config.explain import groups, options
from lantu.config.spec_checks import fields_of_models
from lantu.config.spec_fields import config_file, data_fields
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

SHOWN = ("data", "model", "experiment")


@dataclass(frozen=True)
class Entry:
    """One file of a config group."""

    group: str
    name: str
    sentence: str


def entries(group: str) -> list[Entry]:
    """What a group offers, with the first comment of each file."""
    with config_search():
        return [Entry(group, name, _sentence(group, name)) for name in options(group)]


def fits() -> dict[str, list[str]]:
    """For every data set, the models that need no `spec` field which it does not provide."""
    needed = fields_of_models()
    return {
        data: [model for model, fields in needed.items() if fields <= provided]
        for data, provided in data_fields().items()
    }


def catalog_main(arguments: list[str]) -> int:
    """`lantu catalog [GROUP ...]`."""
    parser = argparse.ArgumentParser("lantu catalog", description="List what can be composed.")
    parser.add_argument("groups", nargs="*", help="config groups, such as optimizer; none: data, model, experiment")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    chosen_groups = given.groups
    with config_search():
        known = groups()
        for group in chosen_groups:
            if group not in known:
                raise UserError(
                    f"there is no group `{group}`.{did_you_mean(group, known)} The groups are: {', '.join(known)}."
                )
        if given.json:
            print(_as_json(chosen_groups or [group for group in SHOWN if group in known]))
            return 0
        _show(chosen_groups or [group for group in SHOWN if group in known], with_fits=not chosen_groups)
    return 0


def _as_json(shown: list[str]) -> str:
    """The entries of some groups, and for a data set the models that fit it."""
    fitting = fits() if "data" in shown else {}
    rows = [
        {**asdict(each), **({"models": fitting.get(each.name, [])} if each.group == "data" else {})}
        for group in shown
        for each in entries(group)
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _show(shown: list[str], *, with_fits: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for group in shown:
        table = Table(
            title=group, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2)
        )
        table.add_column(no_wrap=True, style="cyan")
        table.add_column()
        for entry in entries(group):
            table.add_row(f"{group}={entry.name}", entry.sentence)
        console.print(table, "")
    if with_fits:
        table = Table(
            title="which models fit which data", title_justify="left", title_style="bold", box=None, show_header=False,
            padding=(0, 2),
        )  # fmt: skip
        table.add_column(no_wrap=True, style="cyan")
        table.add_column()
        for data, models in fits().items():
            table.add_row(data, ", ".join(models))
        console.print(table, "")
        others = ", ".join(group for group in groups() if group not in shown)
        console.print(f"`lantu catalog GROUP` lists the others: {others}.", highlight=False)


def _sentence(group: str, name: str) -> str:
    """The first comment of a config file that is not a Hydra directive."""
    file = config_file(group, name)
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#") and "@package" not in line), "")
