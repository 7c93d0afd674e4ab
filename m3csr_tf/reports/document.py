"""What a report is made of: sections of plain blocks, whoever fills them, a run or an experiment.

Nothing here is markup. Ids, names and titles are text as it came, and `page` escapes all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from m3csr_tf.reports.figures.style import Drawn


@dataclass(frozen=True)
class Number:
    """A number in a table, sorted by its value.

    Attributes:
      value: None where there is none.
      text: how it is shown; a dash where there is none.
      low, high: the two ends of its interval, as they are shown; empty without one.
    """

    value: float | None
    text: str
    low: str = ""
    high: str = ""

    @classmethod
    def of(
        cls, value: float | None, digits: int = 4, interval: Sequence[float] | None = None, percent: bool = False
    ) -> Number:
        """A number with so many decimals; None and NaN are no number.

        Args:
          value: the number.
          digits: decimals that are shown.
          interval: its two ends.
          percent: show it as a percentage.
        """
        if value is None or value != value:
            return cls(None, "-")

        def shown(number: float) -> str:
            return f"{number:,.{digits}{'%' if percent else 'f'}}"

        return cls(float(value), shown(value), *map(shown, interval or ()))


@dataclass(frozen=True)
class Link:
    """A link to a file.

    Attributes:
      text: what is shown.
      href: relative to the page, or an address that begins with http:// or https://; anything else is shown as text.
    """

    text: str
    href: str


Cell: TypeAlias = str | Number | Link


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Fact:
    """One figure that a reader should see first.

    Attributes:
      label: what it is.
      value: as it is shown.
      note: e.g. its interval.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Some facts side by side."""

    facts: Sequence[Fact]


@dataclass(frozen=True)
class PageTable:
    """A table whose rows a reader can sort by any column.

    Attributes:
      caption: what it holds.
      headings: of the columns.
      rows: cells, as many in each row as there are headings.
      note: below the table.
      folded: whether it is closed at first.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False

    def __post_init__(self) -> None:
        """Refuses rows of another width."""
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(f"{self.caption}: a row has {len(row)} cells, expected {len(self.headings)}")

    def is_numeric(self, column: int) -> bool:
        """Whether the cells of a column are numbers, all of them."""
        return bool(self.rows) and all(isinstance(row[column], Number) for row in self.rows)


@dataclass(frozen=True)
class Figure:
    """A figure with what it shows.

    Attributes:
      title: a few words.
      caption: what the axes are and how to read it.
      drawn: the figure.
    """

    title: str
    caption: str
    drawn: Drawn


@dataclass(frozen=True)
class Item:
    """An item as a case study shows it.

    Attributes:
      id: its id.
      title: empty where the catalogue has none.
      image: a data: address of a small picture; empty without one.
      url: where it can be watched; empty where the catalogue has none.
      note: e.g. its popularity.
      parts: part -> its share of the score; empty for items of the history.
      score: None for items of the history.
    """

    id: str
    title: str = ""
    image: str = ""
    url: str = ""
    note: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    score: float | None = None

    @property
    def name(self) -> str:
        """Its title, or its id."""
        return self.title or self.id


@dataclass(frozen=True)
class CaseStudy:
    """A user's history and her list, and which part of the score speaks for each item.

    Attributes:
      user: her id.
      history: newest first.
      listed: best first.
      parts: names of the parts, in the order of their colours.
      intensities: modality -> how much she cares for it; empty where the model has none.
    """

    user: str
    history: Sequence[Item]
    listed: Sequence[Item]
    parts: Sequence[str]
    intensities: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldedText:
    """A text to look up, closed at first, e.g. all settings.

    Attributes:
      title: what it is.
      text: shown as it is, line by line.
    """

    title: str
    text: str


Block: TypeAlias = Text | Facts | PageTable | Figure | CaseStudy | FoldedText


@dataclass(frozen=True)
class PageSection:
    """A part of the page with a heading of its own."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """All that a page says.

    Attributes:
      title: e.g. the name of the run.
      subtitle: one sentence that says what was run.
      sections: in order; those without blocks are left out.
    """

    title: str
    subtitle: str
    sections: Sequence[PageSection]
