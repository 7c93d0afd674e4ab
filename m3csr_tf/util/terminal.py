"""What people see: text as it is, harmless to a terminal whatever stands in ids, names and paths."""

from __future__ import annotations

import logging
import sys
from typing import Any

from rich.console import Console
from rich.text import Text
from typing_extensions import override

from m3csr_tf.util.quoting import one_line, printable

WIDTH_OF_LOGS = 160
"""Columns of what is no terminal: a log has no width of its own, and 80 would cut tables."""


class Terminal(Console):
    """A console that obeys nothing in what it prints: neither escape sequences, nor markup, nor names of emoji.

    Args:
      stderr: print there instead of on stdout.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() else WIDTH_OF_LOGS
        # In a notebook, lines of text as in a log, instead of a piece of HTML for each.
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, force_jupyter=False)

    @override
    def render_str(self, text: str, **options: Any) -> Text:
        # All text comes by here, that of tables' cells and titles, too.
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})


class LogFormatter(logging.Formatter):
    """Messages alone, each on one line; a traceback follows on lines of its own."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    @override
    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei))


def log_to_stderr() -> None:
    """Shows warnings of all loggers as lines on stderr, unless somebody has set up logging before."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
