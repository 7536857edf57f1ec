"""A document of sections, written as Markdown or as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lantu import pages

TODO = "TO BE WRITTEN BY A PERSON"


@dataclass
class Section:
    """A heading with what stands below it."""

    title: str
    blocks: list[tuple[str, object]] = field(default_factory=list)
    """Pairs of text, heading, todo, list or table, and what it holds."""

    def text(self, sentence: str) -> "Section":
        """Add a paragraph."""
        self.blocks.append(("text", sentence))
        return self

    def heading(self, title: str) -> "Section":
        """Add a heading below the section's own."""
        self.blocks.append(("heading", title))
        return self

    def todo(self, what: str) -> "Section":
        """Add a mark for what the run cannot know."""
        self.blocks.append(("todo", what))
        return self

    def list(self, items: Sequence[str]) -> "Section":
        """Add a list, unless it is empty."""
        if items:
            self.blocks.append(("list", list(items)))
        return self

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> "Section":
        """Add a table, unless it has no rows."""
        if rows:
            self.blocks.append(("table", (list(header), [list(each) for each in rows])))
        return self


def markdown(title: str, sections: Sequence[Section]) -> str:
    """GitHub's Markdown."""
    lines = [f"# {_plain(title)}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for kind, content in section.blocks:
            lines += [*_markdown(kind, content), ""]
    return "\n".join(lines)


def html(title: str, sections: Sequence[Section]) -> str:
    """A self-contained page."""
    parts = []
    for section in sections:
        parts.append(pages.heading(section.title))
        parts += [_html(kind, content) for kind, content in section.blocks]
    return pages.page(title, parts)


def _markdown(kind: str, content: object) -> list[str]:
    if isinstance(content, tuple):
        header, rows = content
        shown = [header, ["---"] * len(header), *rows]
        return [f"| {' | '.join(_cell(each) for each in row)} |" for row in shown]
    if isinstance(content, list):
        return [f"- {_plain(str(each))}" for each in content]
    if kind == "heading":
        return [f"### {_plain(str(content))}"]
    return [f"> **{TODO}:** {_plain(str(content))}" if kind == "todo" else _plain(str(content))]


def _html(kind: str, content: object) -> str:
    if isinstance(content, tuple):
        return pages.table(*content)
    if isinstance(content, list):
        return pages.bullets([str(each) for each in content])
    if kind == "heading":
        return pages.heading(str(content), level=3)
    return pages.paragraph(
        f"{TODO}: {content}" if kind == "todo" else str(content), kind="todo" if kind == "todo" else ""
    )


def _cell(value: object) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    return _plain(shown).replace("|", "\\|")


def _plain(text: str) -> str:
    """On one line, with nothing that Markdown would take for a tag."""
    return " ".join(text.split()).replace("<", "&lt;")
