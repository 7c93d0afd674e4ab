"""The entry point of the command line; it answers signals before anything that takes time is imported."""

from __future__ import annotations

import sys

from m3csr_tf.util import signals


def main(verb: str | None = None) -> None:
    """Runs the command line, or with `verb` the script of that verb, and ends the process.

    Exit codes: 0 when all is done, 2 after an error that the user can mend, 130 after Ctrl-C and 143 after SIGTERM.
    """
    signals.answer()
    try:
        from pathlib import Path

        from typer.main import get_group

        from m3csr_tf.cli import app

        if verb is None:
            app()
        else:
            get_group(app).commands[verb].main(args=sys.argv[1:], prog_name=Path(sys.argv[0]).name)
    finally:
        signals.done()
        if signals.received():
            signals.leave()
