"""sweep: searches for better settings, which are judged on validation alone."""

from __future__ import annotations

from pathlib import Path

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.verbs.console import console, say


def sweep(config: Config, space_file: Path, trials: int) -> Path:
    """Searches the space around a configuration until the study has `trials` trials, judged on validation alone.

    Returns:
      The folder of the sweep, which holds the study, a CSV file of all trials, and plots.

    Raises:
      ConfigError: the libraries of the extra `sweep` are not installed.
    """
    try:
        # These libraries belong to an optional extra, so they are imported only here.
        from m3csr_tf.experiments.sweep import results
        from m3csr_tf.experiments.sweep.space import load_space
        from m3csr_tf.experiments.sweep.study import outcomes, overrides_of, search, sweep_folder
    except ModuleNotFoundError as error:
        raise ConfigError(f"a sweep needs {error.name}, which is missing: pip install 'm3csr_tf[sweep]'") from None
    space = load_space(space_file, config)
    study = search(config, space, trials, console)
    found, folder = outcomes(study), sweep_folder(config, space)
    results.write_trials(folder / results.TRIALS_FILE, found)
    importances = results.importances(study, config.run.seed)
    plots = results.write_plots(folder, found, importances, space.settings)
    console.print(results.best_table(found))
    for one in results.shown(found):
        say(f"trial {one.trial}: {overrides_of(one.settings)}")
    if importances:
        console.print(results.importance_table(importances))
    best = results.best_first(found)
    if best:
        say(f"best settings: {overrides_of(best[0].settings)}")
    say(f"all trials: {folder / results.TRIALS_FILE}; {len(plots)} plots beside it")
    return folder
