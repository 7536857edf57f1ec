"""`lantu data`: what training would say of the data, without training."""

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.cli.common_options import without_json_option
from lantu.config.build import build
from lantu.config.checking import check
from lantu.config.composing import Composition, compose
from lantu.config.output_paths import check_file_to_write
from lantu.data.cleaning_report import Report
from lantu.data.report_page import page
from lantu.errors import UserError
from lantu.escaping import for_terminal
from lantu.extras import require
from lantu.whole_files import new_folder, write_whole

HELP = """\
Inspect data as training would read them: `lantu data data=NAME [data.OPTION=VALUE ...]`

  lantu data data=csv data.path=loans.csv data.target=status
  labels=true                        labels that may be wrong, by predictions of a model that has not seen the row
  near=true                          texts and pictures that nearly repeat, within and across splits
  coverage=true                      how much of validation and test the training split covers, and its diversity
  drift=FILE                         whether the columns of another file are distributed as those of training
  annotators=[a,b,c]                 how far the labels in these columns agree (Krippendorff, Fleiss, Cohen)
  --json                             print the report as JSON instead of the tables
  report=FILE.html json=FILE.json    where the report is written (default: paths.store/data/NAME.html and .json)

It lists what each column is, what is missing or cannot be read, keys, inputs that leak the target, equal rows,
the classes of each split and the positive one.
"""
OWN = ("report", "json", "labels", "near", "coverage", "drift", "annotators")
"""What the command reads itself; the rest are overrides of a run's config."""
_MOST_CLASSES = 20
_NODES = ("data", "spec", "paths", "augment")
"""Of a run's config what data need: the rest need not fit them."""
_SHOWN = {"key": "key (left out)", "constant": "constant (left out)"}


def data_main(argv: list[str]) -> int:
    """Examine the data that overrides name, print the report and write it; returns the exit status."""
    if not argv or any(each in ("--help", "-h") for each in argv):
        print(HELP, end="")
        return 0
    to_print, argv = without_json_option(argv)
    own = {key: value for key, _, value in (each.partition("=") for each in argv) if key in OWN}
    for key in ("labels", "near", "coverage"):
        if own.get(key, "true") not in ("true", "false"):
            raise UserError(f"`{key}={own[key]}`: it takes true or false.")
    for key, ending in (("report", ".html"), ("json", ".json")):
        if own.get(key):
            check_file_to_write(key, own[key], ending=ending, makes_folder=True)
    overrides = [each for each in argv if each.partition("=")[0] not in own]
    composed = compose(*overrides, command="train")
    cfg = OmegaConf.create({name: composed.cfg[name] for name in _NODES if name in composed.cfg})
    check(Composition(cfg=cfg, choices={"data": composed.choices["data"]}, overrides=overrides))
    node = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)).data
    annotators = [each.strip() for each in own.get("annotators", "").strip("[]").split(",") if each.strip()]
    asked = {key: own.get(key) == "true" for key in ("labels", "near", "coverage")}
    drift = Path(own["drift"]).expanduser() if own.get("drift") else None
    report = examine(node, **asked, annotators=annotators, drift=drift)
    folder = Path(composed.cfg.paths.store) / "data"
    name = Path(str(cfg.data.get("path") or composed.choices["data"])).stem
    if to_print:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        show(report)
    console = Console(stderr=to_print)
    for ending, write in ((".html", lambda: page(report)), (".json", lambda: json.dumps(report.to_dict(), indent=1))):
        file = Path(own.get("report" if ending == ".html" else "json") or folder / f"{name}{ending}")
        try:
            with new_folder(file.parent):
                write_whole(file, write())
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error.strerror}.") from error
        console.print(f"written to  {escape(str(file))}", highlight=False, soft_wrap=True)
    return 0


def examine(
    node: Any,
    *,
    labels: bool = False,
    near: bool = False,
    coverage: bool = False,
    annotators: list[str] | None = None,
    drift: Path | None = None,
) -> Report:
    """The report of the data that a config describes; a table's is made without importing torch, unless more is asked.

    Args:
        labels: look for labels that may be wrong.
        near: look for examples that nearly repeat.
        coverage: measure coverage and diversity of the training split.
        drift: a table whose columns are compared with those of the training rows.
        annotators: columns whose agreement is measured.
    """
    if labels:
        require("cleanlab", "lantu data labels=true", "labels")
    is_table = node.get("_target_") == "lantu.data.TableDataModule"
    if drift is not None and not is_table:
        raise UserError("`drift=FILE` compares the columns of tables. Of other data: `lantu monitor run=... new=FILE`.")
    table: Any = build({**node, "_target_": "lantu.data.table.rows.TableReport"}) if is_table else None
    if is_table and not (labels or near or coverage):
        report: Report = table.examine()
        module = build(node) if annotators else None
    else:
        module = build(node)
        module.prepare_data()
        report = module.report
    from lantu.data.quality import findings

    if labels:
        findings.add_label_errors(module, report)
    if near:
        findings.add_near_duplicates(module, report)
    if coverage:
        findings.add_coverage(module, report)
    if drift is not None:
        from lantu.monitoring.between_files import add_drift

        if not table.learned:
            table.examine()
        add_drift(table, report, drift)
    if annotators:
        findings.add_agreement(module, report, annotators)
    return report


def show(report: Report, console: Console | None = None) -> None:
    """Print a report: columns, classes, findings and warnings."""
    console = console or Console()
    title, *_ = report.lines()
    console.print(f"[bold]{escape(title)}[/bold]", highlight=False, soft_wrap=True)
    if report.columns:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column, justify in (
            ("column", "left"),
            ("is a", "left"),
            ("missing", "right"),
            ("different", "right"),
            ("such as", "left"),
        ):
            table.add_column(column, justify=justify, overflow="fold", style="cyan" if column == "column" else "")  # type: ignore[arg-type]
        for each in report.columns:
            examples = ", ".join(text if len(text) <= 20 else text[:17] + "..." for text in each["examples"][:2])
            kind = _SHOWN.get(each["kind"], each["kind"])
            table.add_row(
                *(
                    escape(for_terminal(text))
                    for text in (
                        each["name"],
                        kind,
                        f"{each['missing']:,}" if each["missing"] else "",
                        f"{each['different']:,}",
                        examples,
                    )
                )
            )
        console.print(table)
    if report.classes:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("class", style="cyan")
        for split in report.classes:
            table.add_column(split, justify="right")
        names = list(next(iter(report.classes.values())))
        for name in names[:_MOST_CLASSES]:
            table.add_row(escape(for_terminal(name)), *(f"{counts[name]:,}" for counts in report.classes.values()))
        console.print(table)
        if len(names) > _MOST_CLASSES:
            console.print(f"and {len(names) - _MOST_CLASSES} more classes", highlight=False)
    for line in report.lines()[1:]:
        style = "yellow" if line.startswith("warning:") else ""
        console.print(escape(line), style=style, highlight=False, soft_wrap=True)
