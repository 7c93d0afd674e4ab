"""prepare: turns raw logs into the prepared folder of a run."""

from __future__ import annotations

from m3csr_tf import prepare as preparation
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.training import run_files
from m3csr_tf.training.warm_start import check_warm_start
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.quoting import quoted
from m3csr_tf.verbs.console import console, say


def prepare(config: Config) -> Prepared:
    """Turns raw input into the run's prepared folder; a lock makes other processes that would write the run wait.

    Raises:
      ConfigError: settings contradict each other, or do not fit the data or the run to start from.
      InputError: the input is missing or malformed.
      RunError: the run's folder holds another run, or one whose input has changed since it was trained.
    """
    with folder_lock(config.run_folder):
        return _prepare(config)


def _prepare(config: Config) -> Prepared:
    run_files.check_run(config)
    check_warm_start(config)
    _check_kinds(config)
    folder = config.run_folder / run_files.PREPARED_FOLDER
    changed = run_files.has_trained(config) and not preparation.is_current(config, folder)
    if changed and not config.run.overwrite:
        raise RunError(
            f"{config.run_folder}: input files or library versions have changed since this run was trained; "
            "choose another run.name for the new data, or pass run.overwrite=true to replace the run"
        )
    if changed:
        run_files.check_replaceable(config.run_folder)
    prepared = preparation.prepare(config, folder)
    run_files.open_run(config, afresh=changed)
    say(f"prepared data in {prepared.folder}")
    console.print(preparation.summary(prepared))
    return prepared


def _check_kinds(config: Config) -> None:
    """Refuses an evaluation by kinds of events that the data will not distinguish, before hours of training are spent.

    Raises:
      ConfigError: `evaluation.kinds` holds a kind that `data.events.kinds` does not name.
    """
    named = config.data.events.kinds
    for kind in config.evaluation.kinds:
        if kind not in named:
            there = f"names {', '.join(named)}" if named else "names none"
            raise ConfigError(
                f"evaluation.kinds holds {quoted(kind)}, but data.events.kinds {there}; give it a weight there, "
                "or leave it out"
            )
