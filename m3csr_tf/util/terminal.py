"""Prints for people: the text is shown as it is, and nothing in ids, names and paths can control the terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

from rich.console import Console
from rich.text import Text
from typing_extensions import override

from m3csr_tf.util.quoting import one_line, printable

WIDTH_OF_LOGS = 160
"""Number of columns if the output is not a terminal: a log has no width of its own, and 80 would cut tables."""


class Terminal(Console):
    """A console that obeys nothing in the text that it prints: no escape sequences, markup, or names of emoji.

    Args:
      stderr: whether to print on stderr instead of stdout.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() else WIDTH_OF_LOGS
        # In a notebook the output is lines of text as in a log, instead of a piece of HTML for each.
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, force_jupyter=False)

    @override
    def render_str(self, text: str, **options: Any) -> Text:
        # All text passes through here, also that of the cells and titles of tables.
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})


class LogFormatter(logging.Formatter):
    """A formatter of messages without prefix, each on one line; a traceback follows on lines of its own."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    @override
    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei))


def log_to_stderr() -> None:
    """Shows the warnings of all loggers as lines on stderr, unless logging has been set up before."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
