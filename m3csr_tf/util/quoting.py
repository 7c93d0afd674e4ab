"""How values of users' files stand in messages: short, on one line, and without anything that a terminal obeys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

LONGEST = 80
"""Characters of a quoted value; an id may be a megabyte."""
MOST_NAMES = 20
"""Names in a list of them."""
LONGEST_MESSAGE = 4_000
"""Characters of a message, which may name several values and paths."""


def quoted(value: Any) -> str:
    """The value as Python writes it, on one line, cut to LONGEST characters with its length behind it."""
    if isinstance(value, str | bytes) and len(value) > LONGEST:
        return f"{value[: LONGEST - 3]!r}... ({len(value):,} {'bytes' if isinstance(value, bytes) else 'characters'})"
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    text = printable(repr(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def shortened(text: str) -> str:
    """An id or name as it stands in tables and sentences without quotes: of more than LONGEST characters the first."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}... ({len(text):,} characters)"


def one_line(text: str) -> str:
    """A message on one line, printable; of more than LONGEST_MESSAGE characters its middle is left out."""
    line = printable(text).replace("\n", "\\n")
    if len(line) <= LONGEST_MESSAGE:
        return line
    half = LONGEST_MESSAGE // 2
    return f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    r"""The text with control characters, escape sequences among them, and lone surrogates written out, as \x1b."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def is_utf8(text: str) -> bool:
    """Whether it can be written as UTF-8; names of files and words of a command line may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed(names: Iterable[Any]) -> str:
    """Names from users' files with commas between them, the first MOST_NAMES of them; "none" if there is none."""
    names = [printable(str(name))[:LONGEST] for name in names]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more if names else "none"
