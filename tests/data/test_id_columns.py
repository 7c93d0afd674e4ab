"""Ids as they come in: what is one id, what is another, and what is none."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from m3csr_tf.batch.checks import checked
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.data.interactions import LogCheck
from m3csr_tf.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"), min_size=1, max_size=8)
EXACT = st.integers(-(2**53), 2**53)


def ids(values: Any) -> list[str]:
    return to_ids(pd.Series(values, name="user_id"), "log").tolist()


@given(st.lists(TEXT, min_size=1))
def test_text_stays_as_it_stands(texts: list[str]) -> None:
    assume(any(not text.endswith(".0") and "e+" not in text.lower() for text in texts))
    assert ids(texts) == texts


@given(st.lists(EXACT, min_size=1))
def test_one_whole_number_is_one_id_whatever_holds_it(numbers: list[int]) -> None:
    written = [str(number) for number in numbers]
    assert ids(numbers) == written
    assert ids([float(number) for number in numbers]) == written
    assert ids([Decimal(number) for number in numbers]) == written
    assert ids(pd.array(numbers, dtype="Int64")) == written
    assert ids(pd.Categorical(numbers)) == written
    assert ids([*numbers, "a"]) == [*written, "a"]


@given(st.lists(st.integers(0, 2**53), min_size=1, unique=True))
def test_text_that_is_written_as_floats_throughout_is_whole_numbers(numbers: list[int]) -> None:
    texts = [f"{number}.0" for number in numbers]
    assert ids(texts) == [str(number) for number in numbers]
    # With one other id among them, they are text.
    assert ids([*texts, "x"]) == [*texts, "x"]
    assert ids([*texts, "7.5"]) == [*texts, "7.5"]


def test_text_that_becomes_whole_numbers_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert ids(["7.0", "8.0"]) == ["7", "8"]
    assert caplog.messages == ["log: all of user_id is written as floats (7.0); the ids are the whole numbers (7)"]


@pytest.mark.parametrize("text", ["07.0", "7.00", "-0.0", "7.", ".0", "v.0", "1.0.0", " 7.0", "\u0667.0"])
def test_text_that_is_not_quite_a_float_stays(text: str) -> None:
    assert ids([text]) == [text]


def test_ids_that_differ_in_what_others_cut_or_fold_stay_apart() -> None:
    texts = ["a", "A", "a ", " a", "á", "a\u0301", "7", "07", "7 ", "NULL", "nan", "a\u2028", "a\t"]
    assert ids(texts) == texts


def test_a_log_in_blocks_may_not_change_from_floats_to_other_text() -> None:
    def block(first: int, *users: str) -> pd.DataFrame:
        return pd.DataFrame({"user_id": users, "item_id": "i"}, index=range(first, first + len(users)))

    for one, other in ((("7.0", "8.0"), ("x", "9.0")), (("x", "9.0"), ("7.0", "8.0"))):
        check = LogCheck("log")
        check.rows(block(0, *one))
        with pytest.raises(InputError, match=r"user_id is written as floats \(7\.0\) from data row \d on, but not"):
            check.rows(block(2, *other))


def test_users_of_a_job_and_their_lists_are_read_by_the_same_rules() -> None:
    frame = pd.DataFrame(
        {"user_id": ["7.0", "8.0"], "history": [["1.0", "2.0"], ["3.0"]], "exclusions": [[5.0, 6], [None][:0]]}
    )
    users = checked(frame, "users", 0)
    assert users["user_id"].tolist() == ["7", "8"]
    assert [list(cell) for cell in users["history"]] == [["1", "2"], ["3"]]
    assert [list(cell) for cell in users["exclusions"]] == [["5", "6"], []]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_file_of_ids_has_the_line_ends_of_any_system(end: bytes, tmp_path: Path) -> None:
    (tmp_path / "block.txt").write_bytes(end.join([b"v1", b" v2 ", b"", b"v3"]) + end)
    assert read_ids(tmp_path / "block.txt") == ["v1", "v2", "v3"]
    (tmp_path / "block.csv").write_bytes(end.join([b"item_id", b"v1", b"v2"]) + end)
    assert read_ids(tmp_path / "block.csv") == ["v1", "v2"]


def test_a_float_of_few_bits_is_exact_in_fewer_numbers() -> None:
    assert ids(np.array([2**24, 7], np.float32)) == ["16777216", "7"]
    with pytest.raises(InputError, match="user_id in data row 2 is 16777218"):
        ids(np.array([1, 2**24 + 2], np.float32))
