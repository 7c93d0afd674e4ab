"""Shows the progress of a stage in a notebook, in one line below the cell that is updated in place."""

from __future__ import annotations

import html
import sys
from typing import Any


def in_notebook() -> bool:
    """Returns whether this runs in a Jupyter kernel, whose frontend can update what it shows."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookLine:
    """A line with a progress bar; it is shown from the first call on."""

    def __init__(self) -> None:
        self._shown: Any = None

    def __call__(self, text: str, share: float | None) -> None:
        """Shows the text and, if it is known, the share that is done as a bar."""
        bar = "" if share is None else f'<progress max="1" value="{min(1.0, share):.3f}"></progress> '
        self._show(f"{bar}{html.escape(text)}", text)

    def clear(self) -> None:
        """Removes the line."""
        if self._shown is not None:
            self._show("", "")

    def _show(self, rich: str, plain: str) -> None:
        from IPython.display import display

        bundle = {"text/html": rich, "text/plain": plain}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)
