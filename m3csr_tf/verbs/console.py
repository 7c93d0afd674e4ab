"""The console on which verbs print their results."""

from __future__ import annotations

from m3csr_tf.util.terminal import Terminal

console = Terminal()


def say(text: str) -> None:
    """Prints a line without wrapping it, so that logs can be searched for it."""
    console.print(text, soft_wrap=True, highlight=False)
