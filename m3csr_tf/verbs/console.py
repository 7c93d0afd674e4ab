"""Where verbs print what they have found."""

from __future__ import annotations

from m3csr_tf.util.terminal import Terminal

console = Terminal()


def say(text: str) -> None:
    """Prints a line as it is, however long: a log can be searched for it."""
    console.print(text, soft_wrap=True, highlight=False)
