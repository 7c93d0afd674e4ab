"""The building blocks of a report: sections of plain blocks, which a run or an experiment fills.

Nothing here is markup. Ids, names and titles are text as it came, and `page` escapes all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from m3csr_tf.reports.figures.style import Drawn


@dataclass(frozen=True)
class Number:
    """A number in a table, which sorts by its value.

    Attributes:
      value: the number; None where there is none.
      text: the number as it is shown; a dash where there is none.
      low, high: the ends of its interval, as they are shown; empty without an interval.
    """

    value: float | None
    text: str
    low: str = ""
    high: str = ""

    @classmethod
    def of(
        cls, value: float | None, digits: int = 4, interval: Sequence[float] | None = None, percent: bool = False
    ) -> Number:
        """Makes a number that is shown with `digits` decimals; None and NaN count as no number.

        Args:
          value: the number.
          digits: number of decimals.
          interval: the two ends of its interval.
          percent: whether to show it as a percentage.
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
      text: the text that is shown.
      href: an address relative to the page, or one that begins with http:// or https://; anything else is shown as
        text.
    """

    text: str
    href: str


Cell: TypeAlias = str | Number | Link


@dataclass(frozen=True)
class Text:
    """A block of paragraphs."""

    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Fact:
    """A figure that a reader should see first.

    Attributes:
      label: what it is.
      value: the figure as it is shown.
      note: a note below it, e.g. its interval.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Several facts, shown side by side."""

    facts: Sequence[Fact]


@dataclass(frozen=True)
class PageTable:
    """A table that a reader can sort by any column.

    Attributes:
      caption: what the table holds.
      headings: the headings of the columns.
      rows: the cells of each row, as many as there are headings.
      note: a note below the table.
      folded: whether the table is closed at first.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False

    def __post_init__(self) -> None:
        """Refuses rows whose number of cells differs from that of the headings."""
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(f"{self.caption}: a row has {len(row)} cells, expected {len(self.headings)}")

    def is_numeric(self, column: int) -> bool:
        """Returns whether all cells of a column are numbers."""
        return bool(self.rows) and all(isinstance(row[column], Number) for row in self.rows)


@dataclass(frozen=True)
class Figure:
    """A figure with its title and caption.

    Attributes:
      title: a title of a few words.
      caption: what the axes are and how to read it.
      drawn: the figure that was written.
    """

    title: str
    caption: str
    drawn: Drawn


@dataclass(frozen=True)
class Item:
    """An item in a case study.

    Attributes:
      id: the item's id.
      title: the item's title; empty where the catalogue has none.
      image: a small picture as a data: address; empty without one.
      url: the address where the item can be watched; empty where the catalogue has none.
      note: a note on the item, e.g. its popularity.
      parts: part -> its summand of the score; empty for items of the history.
      score: the item's score; None for items of the history.
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
        """The item's title or, without one, its id."""
        return self.title or self.id


@dataclass(frozen=True)
class CaseStudy:
    """A user's history and her list, with the part of the score that speaks for each item.

    Attributes:
      user: the user's id.
      history: the items of her history, newest first.
      listed: the items of her list, best first.
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
    """A text to look up, e.g. all settings, which is closed at first.

    Attributes:
      title: what the text is.
      text: the text, which is shown unchanged, line by line.
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
    """Everything that a page shows.

    Attributes:
      title: the title, e.g. the name of the run.
      subtitle: one sentence that says what was run.
      sections: the sections in order; those without blocks are left out.
    """

    title: str
    subtitle: str
    sections: Sequence[PageSection]
