"""Change one decision of the code at a time, and see whether a test fails: `python scripts/mutation.py [NAME ...]`.

Each change is made in a copy of `src/`, and only the tests that should notice it are run. A change that no test notices
("survives") is a promise that nothing checks. Ends with status 1 if one does. Takes about a quarter of a minute each.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutation:
    """A change of one place in a file below `src/lantu/`, and the tests that should notice it."""

    file: str
    old: str
    new: str
    tests: str
    """What pytest is given: files, and what follows -k."""


SELECTION, STATISTICS, REPORT = (f"tests/compare/test_{name}.py" for name in ("selection", "statistics", "report"))
SERVED = "tests/tasks/test_tasks.py -k signature or double"
SHARES = "tests/data/test_sampling.py -k eighty"
STRANGERS = "tests/data/test_more_strangers_tables.py"
MUTATIONS = {
    "worth it": Mutation("compare/recommendation.py", "WORTH_IT = 0.1", "WORTH_IT = 0.5", f"{REPORT} -k cheaper"),
    "most failed": Mutation(
        "compare/recommendation.py", "MOST_FAILED = 0.25", "MOST_FAILED = 0.9", f"{REPORT} -k fail"
    ),
    "caution about data": Mutation(
        "compare/recommendation.py", "    if data:\n", "    if False:\n", f"{REPORT} -k different_data"
    ),
    "caution about folds": Mutation(
        "compare/recommendation.py", "    if analysis.groups.folds:\n", "    if False:\n", f"{REPORT} -k folds"
    ),
    "test share": Mutation("data/splitting.py", '"test": 0.1}', '"test": 0.3}', SHARES),
    "validation share": Mutation("data/splitting.py", '"val": 0.1, "test": 0.1}', '"val": 0.3, "test": 0.1}', SHARES),
    "type of a probability": Mutation(
        "tasks/classification.py", '*(ColSpec("double", name) for name in columns)',
        '*(ColSpec("string", name) for name in columns)', SERVED,
    ),
    "type of a number": Mutation(
        "tasks/regression.py", 'return Schema([ColSpec("double"', 'return Schema([ColSpec("string"', SERVED
    ),
    "winner's interval": Mutation(
        "compare/methods/selection.py", "worse = max(half,", "worse = min(half,", f"{SELECTION} -k covered"
    ),
    "winner's mean": Mutation(
        "compare/methods/selection.py", "means[place] + bias)", "means[place] - bias)", f"{SELECTION} -k nearer"
    ),
    "overlap of folds": Mutation(
        "compare/methods/statistics.py", "overlap = 1 / (folds - 1) if folds else 0.0", "overlap = 0.0",
        f"{REPORT} -k folds",
    ),
    "failed runs": Mutation(
        "compare/methods/statistics.py", '.astype(bool), "score"] = np.nan', '.astype(bool), "score"] = 0.0',
        f"{STATISTICS} {REPORT} -k fail",
    ),
    "equal rows are copies": Mutation(
        "data/cleaning.py", "repeats <= 0.02 * len(rows)", "repeats <= 2 * len(rows)",
        "tests/data/test_strangers_tables.py -k alike",
    ),
    "slice of a missing value": Mutation(
        "data/slices.py", "np.where(_missing(values), MISSING, found)", "found", "tests/tasks/test_slices.py -k values"
    ),
    "titles above a header": Mutation(
        "data/csv_dialect.py", "2 * filled[number] > min(usual, width)", "True", f"{STRANGERS} -k padded"
    ),
    "far-off values": Mutation(
        "data/table/columns.py", "np.clip(scaled, -FARTHEST, FARTHEST)", "scaled", f"{STRANGERS} -k magnitude"
    ),
    "outliers are ranked": Mutation(
        "data/table/columns.py", "OUTLYING = 5.0", "OUTLYING = 500.0", f"{STRANGERS} -k outliers"
    ),
    "hardly any known values": Mutation(
        "data/table/columns.py", "UNUSUAL = 0.2", "UNUSUAL = 2.0", f"{STRANGERS} -k hardly"
    ),
    "code without zeros": Mutation(
        "data/table/columns.py", 'name.lstrip("0") or "0"', "name", f"{STRANGERS} -k spreadsheet_cut"
    ),
    "damaged UTF-8": Mutation(
        "data/encoding.py", "return good >= 5 * bad", "return False", "tests/data/test_encoding.py -k damaged"
    ),
    "unknown monitor": Mutation(
        "config/metric_names.py", "if any(fnmatchcase(whole, each) for each in known):", "if True:",
        "tests/config/test_metric_names.py -k never",
    ),
    "secret in a mistake": Mutation(
        "cli/main.py", "{redact(str(error))}", "{error}", "tests/tracking/test_no_secret_is_left.py -k mistake"
    ),
    "draft of a file": Mutation(
        "whole_files.py", "yield draft", "yield target", "tests/test_whole_files.py -k fit"
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which ones; none: all of {', '.join(MUTATIONS)}")
    asked = parser.parse_args().names or list(MUTATIONS)
    survivors = [name for name in asked if not killed(name)]
    print(
        f"{len(asked) - len(survivors)} of {len(asked)} changes are noticed"
        + "".join(f"\n  {each}" for each in survivors)
    )
    return bool(survivors)


def killed(name: str) -> bool:
    """Whether a test fails on a change."""
    mutation = MUTATIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(REPO / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        file = source / "lantu" / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{name}: {mutation.old!r} stands {text.count(mutation.old)} times in {file.name}")
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
        files, _, chosen = mutation.tests.partition(" -k ")
        done = subprocess.run(
            [*command, *files.split(), "-k", chosen], cwd=REPO, env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode not in (0, 1):  # neither passed nor failed
        raise SystemExit(f"{name}: the tests do not run\n{done.stdout}{done.stderr}")
    failed = next((line for line in done.stdout.splitlines() if line.startswith("FAILED")), "")
    print(f"{'noticed ' if done.returncode else 'SURVIVES'}  {name:<26} {failed[7:130]}", flush=True)
    return bool(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
