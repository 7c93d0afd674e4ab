"""Describes a missing column in error messages: which columns the file has, and which of them may have been meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from m3csr_tf.util.quoting import quoted

_MOST = 20
"""Largest number of columns that a message lists."""


def what_is_there(names: Sequence[str], *wanted: str) -> str:
    """Lists the columns of a file, and adds the one that is most similar to a wanted name (see `nearest`), if any."""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    listed = ", ".join(quoted(name) for name in names[:_MOST]) or "no column"
    near = nearest(names, *wanted)
    return f"the file has {listed}{more}" + ("" if near is None else f", the nearest is {quoted(near)}")


def nearest(names: Sequence[str], *wanted: str) -> str | None:
    """Returns the name most similar to the first of `wanted` that has a similar one, ignoring case and punctuation."""
    plain = {plainly(name): name for name in reversed(names)}
    found = (get_close_matches(plainly(one), plain, n=1, cutoff=0.6) for one in wanted)
    return next((plain[near[0]] for near in found if near), None)


def same_but_for_spelling(names: Sequence[str], wanted: str) -> str | None:
    """Returns the first name that differs from `wanted` only in case or in punctuation, or None if there is none."""
    return next((name for name in names if name != wanted and plainly(name) == plainly(wanted)), None)


def plainly(name: str) -> str:
    """Returns a name without case, blanks and punctuation."""
    return "".join(one for one in name.casefold() if one.isalnum())
