"""JSON and YAML are read as they are meant, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import dump_yaml, parse_json, parse_yaml, read_json
from m3csr_tf.util.quoting import LONGEST, printable, quoted

LAUGHS = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_yaml_scalars_are_what_they_look_like() -> None:
    text = "[0701, 1:30, 2026-11-24, yes, 0x1F, 5, 1e3, .5, true, ~, 'x']"
    assert parse_yaml(text) == ["0701", "1:30", "2026-11-24", "yes", "0x1F", 5, 1000.0, 0.5, True, None, "x"]
    assert parse_yaml("") is None


def test_numbers_of_yaml_know_how_they_were_written() -> None:
    assert [number.written for number in parse_yaml("[1.10, 007.0, 5]")[::2]] == ["1.10", "5"]


def test_aliases_and_merged_keys_of_yaml_stay_usable() -> None:
    assert parse_yaml("base: &b {x: 1}\nc: {<<: *b, y: 2}")["c"] == {"x": 1, "y": 2}


def test_tags_of_the_core_schema_say_what_a_scalar_is() -> None:
    assert parse_yaml("[!!str 5, !!int '5', !!float 5, !!bool 'true', !!null '', !!str <<, <<]") == [
        *("5", 5, 5.0, True, None, "<<", "<<")
    ]


SCALARS = (
    st.text()
    | st.from_regex(r"[-+]?[0-9.:_xobe-]{1,9}", fullmatch=True)
    | st.sampled_from(["1e3", "1E5", ".5e3", "1e400", "0x1F", "yes", "1:30", "2026-11-01", "~", "<<", "=", "", "0701"])
)
TREES = st.recursive(
    SCALARS | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda below: st.lists(below) | st.dictionaries(SCALARS, below),
)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_what_is_written_as_yaml_is_read_as_it_was(tree: Any) -> None:
    text = dump_yaml(tree)
    read = parse_yaml(text)
    assert read == tree and kinds(read) == kinds(tree)
    assert parse_yaml(dump_yaml(read)) == tree  # Numbers that know how they were written can be written, too.


def kinds(tree: Any) -> Any:
    """The tree with classes of JSON in place of scalars: 1 is equal to 1.0 and to true."""
    if isinstance(tree, dict):
        return [(key, kinds(value)) for key, value in tree.items()]
    if isinstance(tree, list):
        return [kinds(value) for value in tree]
    return next(kind for kind in (bool, int, float, str, type(None)) if isinstance(tree, kind))


def test_text_that_an_older_reader_takes_for_something_else_is_quoted() -> None:
    texts = ["yes", "1:30", "2026-11-01", "0x1F", "0o7", "="]
    assert yaml.safe_load(dump_yaml(texts)) == texts


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "a key twice": ("run: {}\nrun: {}", "key 'run' is there twice, again in line 2"),
        "an alias within itself": ("a: &x [*x]", "contains it"),
        "nesting": ("[" * 100_000, "nested too deeply"),
        "a billion values": (LAUGHS, "more than 1,000,000 values"),
        "five thousand digits": ("9" * 5000, "too long for a number"),
        "a Python object": ("!!python/object:os.x {}", "the tag !!python/object:os.x, expected !!map"),
        "text that is no bool": ("!!bool x", "line 1: 'x' is no !!bool"),
        "text that is no int": ("!!int abc", "'abc' is no !!int"),
        "an empty int": ("!!int ''", "'' is no !!int"),
        "an int of another base": ("!!int 0x10", "'0x10' is no !!int"),
        "text that is no null": ("!!null x", "'x' is no !!null"),
        "a date": ("a: 1\nb: !!timestamp x", "line 2 has the tag !!timestamp, expected !!bool, !!float"),
        "bytes": ("!!binary aGVsbG8=", "has the tag !!binary"),
        "a mapping that is to be a number": ("!!float {}", "has the tag !!float, expected !!map"),
        "two merged keys": ("{<<: {a: 1}, <<: {a: 2}}", "key '<<' is there twice"),
        "a list as a key": ("? [1, 2]\n: 3", "unhashable key"),
        "a NUL": ("a: \0", "special characters are not allowed"),
    }.values(),
)
def test_yaml_that_nobody_means_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_yaml(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 2}', "key 'a' is there twice"),
        (b'[{"b": {"a": 1, "a": 1}}]', "key 'a' is there twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "digits"),
        (b"NaN", "NaN is no number of JSON"),
        (b"\xff", "not UTF-8"),
        (b"{", "line 1 column 2"),
    ],
)
def test_json_that_nobody_means_is_refused_in_one_line(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_json(text)
    assert "\n" not in str(error.value)


def test_a_pipe_is_no_file_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"pipe\.json: cannot be read .*no regular file.*; expected a list"):
        read_json(tmp_path / "pipe.json", "a list")


def test_quoted_values_are_short_and_harmless_to_a_terminal() -> None:
    assert quoted("v1") == "'v1'"
    assert quoted("x" * 1_000_000) == f"'{'x' * (LONGEST - 3)}'... (1,000,000 characters)"
    assert quoted("a\x1b[31m") == r"'a\x1b[31m'"
    assert len(quoted(["a" * 1000])) == LONGEST
    assert printable("runs/\x1b[2J") == r"runs/\x1b[2J"
