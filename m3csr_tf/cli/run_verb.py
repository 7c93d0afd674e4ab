"""Runs a verb from the command line: reads the settings, prints an error as one message, and sets the exit code."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import typer

from m3csr_tf import config as configuration
from m3csr_tf.errors import ConfigError, M3CSRError
from m3csr_tf.util import signals
from m3csr_tf.util.progress import say
from m3csr_tf.util.quoting import one_line
from m3csr_tf.util.terminal import log_to_stderr


def run_verb(
    verb: str,
    config_file: Path | None,
    overrides: list[str] | None,
    *args: object,
    function: str | None = None,
    without_data: bool = False,
    on_one_machine: bool = False,
) -> None:
    """Runs a verb. An error that the user can mend ends in one message and exit code 2, Ctrl-C in exit code 130.

    Args:
      verb: the name of a file of `m3csr_tf.verbs`.
      config_file, overrides: file and single settings from which the configuration is read.
      *args: arguments of the verb after the configuration.
      function: name of the function in the verb's file; None takes the name of the file.
      without_data: whether the verb works without settings of the data, because all it needs lies in the release or in
        the run that the release came from.
      on_one_machine: whether the verb does more than training, so that it must not run on each of several workers.
    """
    log_to_stderr()
    try:
        config = configuration.load(config_file, overrides or [], without_data=without_data)
        if on_one_machine and config.run.strategy == "multi_worker":
            raise ConfigError(
                f"{verb} does more than training, which run.strategy=multi_worker would do on every worker: run "
                "pipelines/train.py on all of them, then the other verbs on one with run.strategy=one_device"
            )
        # The verb is imported after the settings are checked, because importing TensorFlow takes seconds, for which
        # nobody should wait to learn of a mistyped setting.
        action: Callable[..., object] = getattr(import_module(f"m3csr_tf.verbs.{verb}"), function or verb)
        from m3csr_tf.verbs.system_errors import system_errors

        signals.begin()
        with system_errors():
            action(config, *args)
    except M3CSRError as error:
        if signals.received():
            raise signals.Stopped from None
        say(one_line(f"error: {error}"))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        raise typer.Exit(130) from None
