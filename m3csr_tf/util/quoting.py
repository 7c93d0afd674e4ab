"""Writes values from users' files in messages: short, on one line, and without anything that a terminal obeys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

LONGEST = 80
"""Largest number of characters of a quoted value; an id may be a megabyte."""
MOST_NAMES = 20
"""Largest number of names in a list of names."""
LONGEST_MESSAGE = 4_000
"""Largest number of characters of a message, which may name several values and paths."""


def quoted(value: Any) -> str:
    """Returns the value as Python writes it, on one line; a longer one is cut to LONGEST characters.

    The length of a long str or bytes follows it.
    """
    if isinstance(value, str | bytes) and len(value) > LONGEST:
        return f"{value[: LONGEST - 3]!r}... ({len(value):,} {'bytes' if isinstance(value, bytes) else 'characters'})"
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    text = printable(repr(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def shortened(text: str) -> str:
    """Returns an id or name for tables and for sentences without quotes, cut to LONGEST characters."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}... ({len(text):,} characters)"


def one_line(text: str) -> str:
    """Returns a message on one line, printable; of more than LONGEST_MESSAGE characters the middle is left out."""
    line = printable(text).replace("\n", "\\n")
    if len(line) <= LONGEST_MESSAGE:
        return line
    half = LONGEST_MESSAGE // 2
    return f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    r"""Returns the text with control characters, among them escape sequences, and lone surrogates written as \x1b."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def is_utf8(text: str) -> bool:
    """Returns whether a text can be written as UTF-8; names of files and words of a command line may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed(names: Iterable[Any]) -> str:
    """Joins the first MOST_NAMES names from users' files by commas; returns "none" if there is none."""
    names = [printable(str(name))[:LONGEST] for name in names]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more if names else "none"
