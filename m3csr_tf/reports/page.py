"""Writes a report as one self-contained HTML file: styles, script, figures and pictures are inside it.

Its content security policy forbids every request, so that a page can be mailed, archived and opened from a disk. The
template engine escapes all text; only the SVG of this package's own figures is taken as markup.
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
"""Largest number of characters of an id or title on the page; the whole of it is in the tooltip."""

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
"""The kinds that the template distinguishes: the test `is NAME` -> its class."""


def write_page(report: Report, path: Path) -> None:
    """Writes a report as an HTML file, which replaces an older one atomically."""
    write_text(path, html(report))


def html(report: Report) -> str:
    """Returns the text of the page."""
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
    """Removes control characters, which HTML does not allow, and lone surrogates, which no file can hold, from text."""
    return printable(value) if type(value) is str else value


def _grouped(blocks: Sequence[Block]) -> list[list[Block]]:
    """Groups the blocks so that consecutive figures are together: a wide page has room for two side by side."""
    return [list(group) for _, group in groupby(blocks, lambda block: isinstance(block, Figure))]


def _refuse(block: object) -> NoReturn:
    raise TypeError(f"the page has no place for a {type(block).__name__}")


def _href(address: str) -> str:
    """Returns an address that may be followed; empty if it is neither relative nor of the web, e.g. javascript:."""
    if _on_the_web(address):
        return address
    # A colon after the first slash belongs to a name, e.g. of the run 1:30; one before it ends a scheme.
    relative = not address.startswith(("/", "\\")) and ":" not in address.partition("/")[0]
    return quote(address) if relative else ""


def _on_the_web(address: str) -> bool:
    return address.lower().startswith(_WEB)


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _places(parts: Sequence[str]) -> dict[str, int]:
    """Returns part -> the number of its colour."""
    return {part: place + 1 for part, place in colours_of(parts).items()}


def _shares(item: Item) -> dict[str, float]:
    """Returns part -> its share, in percent, of everything that speaks for the item."""
    total = sum(value for value in item.parts.values() if value > 0)
    return {part: 100 * value / total for part, value in item.parts.items() if value > 0} if total else {}


def _speaking(item: Item) -> str:
    """Names the parts that speak for the item, the largest first, and those that speak against it."""
    ordered = sorted(_shares(item).items(), key=lambda part: -part[1])
    speaking_for = ", ".join(f"{part} {value:.0f}%" for part, value in ordered if value >= 0.5) or "nothing"
    against = [part for part, value in item.parts.items() if value < 0]
    return speaking_for + (f"; against it: {', '.join(against)}" if against else "")
