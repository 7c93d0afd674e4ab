"""`m3csr serve`: the online retrieval service."""

from __future__ import annotations

from m3csr_tf.cli.options import ConfigOption, Overrides
from m3csr_tf.cli.run_verb import run_verb


def serve(config: ConfigOption = None, overrides: Overrides = None) -> None:
    """Answer requests for lists, similar items and explanations over HTTP; follow refreshes and new versions."""
    run_verb("serve", config, overrides, without_data=True)
