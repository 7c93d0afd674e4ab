"""What messages say of a column that is not there: the columns that are, and which of them may be meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from m3csr_tf.util.quoting import quoted

_MOST = 20
"""Columns that a message lists."""


def what_is_there(names: Sequence[str], *wanted: str) -> str:
    """The columns of a file, and the one that looks most like the first of `wanted` that any looks like."""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    listed = ", ".join(quoted(name) for name in names[:_MOST]) or "no column"
    near = nearest(names, *wanted)
    return f"the file has {listed}{more}" + ("" if near is None else f", the nearest is {quoted(near)}")


def nearest(names: Sequence[str], *wanted: str) -> str | None:
    """The name that looks most like the first of `wanted` that any looks like, whatever its case and underscores."""
    plain = {_plain(name): name for name in reversed(names)}
    found = (get_close_matches(_plain(one), plain, n=1, cutoff=0.6) for one in wanted)
    return next((plain[near[0]] for near in found if near), None)


def same_but_for_spelling(names: Sequence[str], wanted: str) -> str | None:
    """The first name that is `wanted` but for case and what is neither letter nor digit; None if none is."""
    return next((name for name in names if name != wanted and _plain(name) == _plain(wanted)), None)


def _plain(name: str) -> str:
    return "".join(one for one in name.casefold() if one.isalnum())
