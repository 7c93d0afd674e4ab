"""Where verbs print: ids and paths as they are, whatever stands in them."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDTH_OF_LOGS = 130  # They have none; 80 would cut tables.

console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_LOGS, markup=False, emoji=False)


def say(text: str) -> None:
    """Prints a line as it is, however long: a log can be searched for it."""
    console.print(text, soft_wrap=True, highlight=False)
