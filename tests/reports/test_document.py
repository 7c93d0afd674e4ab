"""What a report may hold, and the page that is made of it, without a browser."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.reports.document import (
    CaseStudy,
    Fact,
    Facts,
    FoldedText,
    Item,
    Link,
    Number,
    PageSection,
    PageTable,
    Report,
    Text,
)
from m3csr_tf.reports.page import html


class Parsed(HTMLParser):
    """Tags of a page in order, with their attributes' names, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(text: str) -> str:
    """A page with a text in every place that takes one."""
    listed = Item(text, title=text, note=text, parts={text: 0.5, "id": -0.25}, score=0.25)
    blocks = [
        Text([text]),
        Facts([Fact(text, text, text)]),
        PageTable(text, [text, "number"], [[text, Number.of(0.5)]], text),
        PageTable("folded", [text], [[text]], folded=True),
        CaseStudy(text, [Item(text)], [listed], [text, "id"], {text: 1.0}),
        FoldedText(text, text),
    ]
    return html(Report(text, text, [PageSection(text, blocks)]))


@given(st.text(min_size=1, max_size=40).filter(lambda text: text != "id"))
def test_no_text_changes_the_markup_of_the_page(text: str) -> None:
    assert Parsed(page_of(text)).tags == Parsed(page_of("plain")).tags


def test_text_is_shown_as_it_is_and_control_characters_are_written_out() -> None:
    page = page_of('<i>&"\x1b[31m\ud800')
    assert "&lt;i&gt;&amp;&#34;\\x1b[31m\\ud800" in page
    page.encode("utf-8")


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "//example.org", "/etc/passwd"]
)
def test_only_relative_addresses_and_those_of_the_web_become_links(address: str) -> None:
    blocks = [
        PageTable("t", ["file"], [[Link("name", address)], [Link("good", "a b/c.md")]]),
        CaseStudy("u", [Item("i", url=address), Item("j", url="https://example.org/j")], [], []),
    ]
    parsed = Parsed(html(Report("t", "s", [PageSection("x", blocks)])))
    assert parsed.links == ["#section-1", "a%20b/c.md", "https://example.org/j"]
    assert "name" in parsed.text


def test_a_name_with_a_colon_in_a_relative_address_becomes_a_link_that_no_browser_takes_for_a_scheme() -> None:
    # A run, and so a release, may be called 1:30; written as it is, "1:30" would be an address of the scheme "1".
    blocks = [PageTable("t", ["file"], [[Link("1:30", "../../saved_models/1:30")]])]
    assert Parsed(html(Report("t", "s", [PageSection("x", blocks)]))).links[1:] == ["../../saved_models/1%3A30"]


def test_the_title_of_an_item_leads_to_the_web_alone() -> None:
    items = [Item("i", url="watch/1"), Item("j", url="HTTP://example.org/j"), Item("k")]
    page = html(Report("t", "s", [PageSection("x", [CaseStudy("u", items, [], [])])]))
    assert Parsed(page).links[1:] == ["HTTP://example.org/j"]


def test_a_number_has_its_decimals_its_interval_and_a_dash_where_there_is_none() -> None:
    assert Number.of(1234.5678, 2) == Number(1234.5678, "1,234.57")
    assert Number.of(0.1, 2, (0.05, 0.15)) == Number(0.1, "0.10", "0.05", "0.15")
    assert Number.of(0.125, 1, percent=True).text == "12.5%"
    assert Number.of(None) == Number.of(float("nan")) == Number(None, "-")


def test_a_row_of_another_width_is_refused_with_the_table_named() -> None:
    with pytest.raises(ValueError, match="counts: a row has 1 cells, expected 2"):
        PageTable("counts", ["what", "count"], [["users"]])


def test_a_column_is_numeric_when_all_its_cells_are_numbers() -> None:
    table = PageTable("t", ["name", "n", "mixed"], [["a", Number.of(1), Number.of(1)], ["b", Number.of(None), "two"]])
    assert [table.is_numeric(column) for column in range(3)] == [False, True, False]
    assert not PageTable("empty", ["n"], []).is_numeric(0)


def test_sections_without_blocks_are_left_out_of_the_page_and_of_its_contents() -> None:
    page = html(Report("t", "s", [PageSection("nothing", []), PageSection("something", [Text(["x"])])]))
    assert "nothing" not in page and page.count("something") == 2


def test_shares_of_what_speaks_for_an_item_are_those_of_its_positive_parts() -> None:
    # 3 of 4 and 1 of 4; what is below zero speaks against it.
    listed = [Item("i", parts={"id": 3.0, "visual": 1.0, "textual": -2.0}, score=2.0), Item("j", parts={"id": -1.0})]
    page = html(Report("t", "s", [PageSection("x", [CaseStudy("u", [], listed, ["id", "visual", "textual"])])]))
    assert "id 75%, visual 25%; against it: textual" in page
    assert "width: 75.00%" in page and "width: 25.00%" in page
    assert "nothing; against it: id" in page
