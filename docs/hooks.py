"""Write the catalogue page from the comments of conf/ while the site is built."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = {
    "data": "Data sets",
    "model": "Models",
    "experiment": "Recipes",
    "task": "Tasks",
    "optimizer": "Optimizers",
    "scheduler": "Learning-rate schedules",
    "init": "Initialisations",
    "augment": "Augmentations",
    "trainer": "Trainers",
    "callbacks": "Callbacks",
    "peft": "Parameter-efficient fine-tuning",
    "privacy": "Private training",
    "logger": "Loggers",
    "economics": "Prices",
    "debug": "Debugging",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the page `catalog.md`."""
    files.append(File.generated(config, "catalog.md", content=catalog()))
    return files


def catalog() -> str:
    """The catalogue as Markdown: a table per config group, a row per file with its first comment."""
    parts = [
        "# Catalogue\n\nEvery row is a file under `conf/`, chosen by `GROUP=NAME` on the command line. "
        "`lantu catalog` prints the same, and which models fit which data; `lantu catalog GROUP` one group.\n"
    ]
    for group, title in GROUPS.items():
        files = sorted((CONF / group).glob("*.yaml"))
        if files:
            rows = "\n".join(f"| `{group}={file.stem}` | {sentence(file)} |" for file in files)
            parts.append(f"## {title}\n\n| choose | what it is |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def sentence(file: Path) -> str:
    """The first comment of a config file that is not a Hydra directive, as a table cell."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").replace("|", "\\|")
    return ""
