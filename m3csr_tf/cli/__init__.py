"""The command line: `m3csr VERB --config FILE section.name=value ...`, and the same as scripts in pipelines/."""

from m3csr_tf.cli.commands import app

__all__ = ["app"]
