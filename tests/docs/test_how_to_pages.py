"""Every code block of the documentation does what the page says.

Python blocks are executed and `lantu` lines are run, in order, in one temporary folder per page. A block after the
comment `<!-- check only: REASON -->` is composed and checked, but not run.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import lantu
from lantu.cli.main import main
from lantu.config.checking import check
from lantu.config.sweeping import check_sweep

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "howto").glob("*.md"))]
BLOCK = re.compile(r"(<!-- check only: [^>]+ -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, bool]]:
    """(language, code, whether it is run) of every block, in order."""
    for only_checked, language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        yield language, code, not only_checked


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {}
    for language, code, is_run in blocks(page):
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
            continue
        for line in code.strip().splitlines():
            command, *arguments = shlex.split(line)
            assert command == "lantu", line
            if is_run:
                assert main(arguments) == 0, line
            else:
                check_composition(arguments[1:])


def check_composition(arguments: list[str]) -> None:
    """Compose and check what a training command asks for."""
    if arguments[0] == "-m":
        assert check_sweep(arguments[1:]) >= 1
    else:
        check(lantu.compose(*arguments))


def test_every_page_of_the_site_is_in_its_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert {page for page in pages if page not in navigation} == set()
