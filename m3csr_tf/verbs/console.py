"""Where verbs print."""

from __future__ import annotations

import sys

from rich.console import Console

console = Console(width=None if sys.stdout.isatty() else 130)  # A log has no width; 80 would cut tables.
