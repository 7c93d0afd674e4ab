"""JSON and YAML are read as they are meant, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import parse_json, parse_yaml, read_json
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


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "a key twice": ("run: {}\nrun: {}", "key 'run' is there twice, again in line 2"),
        "an alias within itself": ("a: &x [*x]", "contains it"),
        "nesting": ("[" * 100_000, "nested too deeply"),
        "a billion values": (LAUGHS, "more than 1,000,000 values"),
        "five thousand digits": ("9" * 5000, "too long for a number"),
        "a Python object": ("!!python/object:os.x {}", "could not determine a constructor"),
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
