"""README.md and the pages of docs/ name files, classes and pages that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import m3csr_tf

PACKAGE = Path(m3csr_tf.__file__).parent
ROOT = PACKAGE.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_CODE = re.compile(r"`([^`]+)`")


def section(page: str, title: str) -> str:
    """What stands between a heading of the second level and the next one."""
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables of a text, without the headings, which stand above a line of dashes."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rules = {number for number, line in enumerate(lines) if set(line) <= set("| -")}
    body = [line for number, line in enumerate(lines) if not {number, number + 1} & rules]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]


def defined(path: Path) -> set[str]:
    """The classes and functions at the top of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_every_equation_of_the_paper_has_its_class_in_the_file_that_the_readme_names() -> None:
    equations: set[int] = set()
    for paper, what, names, files in rows(section(README, "From the paper to the code")):
        there = {name for file in _CODE.findall(files) for name in defined(PACKAGE / file)}
        assert set(_CODE.findall(names)) <= there, what
        if paper.startswith("eq"):
            ends = [[int(end) for end in numbers.split("-")] for numbers in re.findall(r"\d+(?:-\d+)?", paper)]
            equations |= {number for end in ends for number in range(end[0], end[-1] + 1)}
    # The paper numbers its equations from 1 to 13.
    assert equations == set(range(1, 14))


def test_every_verb_of_the_readme_has_its_script_and_its_file() -> None:
    verbs = rows(section(README, "The verbs"))
    assert len(verbs) >= 14
    for script, code, *_ in verbs:
        (pipeline,), (verb,) = _CODE.findall(script), _CODE.findall(code)
        assert (ROOT / pipeline).is_file() and (PACKAGE / verb).is_file()
        assert Path(pipeline).name == Path(verb).name


def test_what_the_readme_says_of_additions_names_files_that_are_there() -> None:
    files = {name for name in _CODE.findall(section(README, "Adding your own")) if name.endswith(".py")}
    places = {name for name in files if not any(part.isupper() for part in re.split(r"[/.]", name)) and "=" not in name}
    assert len(places) >= 10
    assert not [name for name in places if not (PACKAGE / name).is_file()]


def test_every_word_of_the_glossary_lives_in_files_that_are_there() -> None:
    words = rows(GLOSSARY)
    assert len(words) >= 30
    for word, _, places in words:
        files = [name for name in _CODE.findall(places) if name.endswith(".py")]
        assert files, word
        assert not [name for name in files if not (PACKAGE / name).is_file()], word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
