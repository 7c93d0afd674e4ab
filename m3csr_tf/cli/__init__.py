"""The command line `m3csr VERB --config FILE section.name=value ...`, whose verbs are also scripts in pipelines/."""

from m3csr_tf.cli.commands import app

__all__ = ["app"]
