"""A report as one HTML file that needs nothing else: styles, script, figures and pictures are inside it.

Its content security policy forbids every request, so that a page can be mailed, archived and opened from a disk. All
text is escaped by the template engine; only the SVG of our own figures is taken as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from m3csr_tf.reports.document import (
    Block,
    CaseStudy,
    Facts,
    Figure,
    FoldedText,
    Item,
    Link,
    Number,
    PageTable,
    Report,
    Text,
)
from m3csr_tf.reports.figures.style import colours_of
from m3csr_tf.util.files import write_text
from m3csr_tf.util.quoting import printable

_WEB = ("http://", "https://")
_LONGEST = 60
"""Characters of an id or title on the page; the whole of it is in the tooltip."""

_KINDS = {
    "paragraphs": Text,
    "facts": Facts,
    "table": PageTable,
    "figure": Figure,
    "case_study": CaseStudy,
    "folded_text": FoldedText,
    "number_cell": Number,
    "link": Link,
}
"""What the template can tell apart: the test `is NAME`, and the class it stands for."""


def write_page(report: Report, path: Path) -> None:
    """Writes a report as an HTML file, beside and renamed."""
    write_text(path, html(report))


def html(report: Report) -> str:
    """The text of the page."""
    return _template().render(
        report=report,
        sections=[section for section in report.sections if section.blocks],
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("m3csr_tf.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.globals.update(
        grouped=_grouped,
        refuse=_refuse,
        href=_href,
        on_the_web=_on_the_web,
        svg=Markup,
        shares=_shares,
        speaking=_speaking,
        short=_short,
        places=_places,
    )
    for name, kind in _KINDS.items():
        environment.tests[name] = lambda value, kind=kind: isinstance(value, kind)
    return environment.get_template("page.html")


def _asset(name: str) -> str:
    return (resources.files("m3csr_tf.reports") / "templates" / name).read_text(encoding="utf-8")


def _finalized(value: Any) -> Any:
    """Text without control characters, which HTML has no place for, and without lone surrogates, which no file has."""
    return printable(value) if type(value) is str else value


def _grouped(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks, figures that follow each other together: a wide page has room for two side by side."""
    return [list(group) for _, group in groupby(blocks, lambda block: isinstance(block, Figure))]


def _refuse(block: object) -> NoReturn:
    raise TypeError(f"the page has no place for a {type(block).__name__}")


def _href(address: str) -> str:
    """An address that may be followed; empty if it is neither relative nor of the web, e.g. javascript:."""
    if _on_the_web(address):
        return address
    # A colon behind the first slash is part of a name, e.g. of the run 1:30; one before it ends a scheme.
    relative = not address.startswith(("/", "\\")) and ":" not in address.partition("/")[0]
    return quote(address) if relative else ""


def _on_the_web(address: str) -> bool:
    return address.lower().startswith(_WEB)


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _places(parts: Sequence[str]) -> dict[str, int]:
    """Part -> the number of its colour."""
    return {part: place + 1 for part, place in colours_of(parts).items()}


def _shares(item: Item) -> dict[str, float]:
    """Part -> its share, in percent, of all that speaks for the item."""
    total = sum(value for value in item.parts.values() if value > 0)
    return {part: 100 * value / total for part, value in item.parts.items() if value > 0} if total else {}


def _speaking(item: Item) -> str:
    """The parts that speak for an item, largest first, and those that speak against it."""
    ordered = sorted(_shares(item).items(), key=lambda part: -part[1])
    speaking_for = ", ".join(f"{part} {value:.0f}%" for part, value in ordered if value >= 0.5) or "nothing"
    against = [part for part, value in item.parts.items() if value < 0]
    return speaking_for + (f"; against it: {', '.join(against)}" if against else "")
