"""experiment: tunes many models alike on several data sets, each run in its own process, and compares them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.experiments.comparison import results, tables
from m3csr_tf.experiments.comparison.jobs import Jobs
from m3csr_tf.experiments.comparison.planning import plan
from m3csr_tf.experiments.comparison.scheduler import LOGS, run
from m3csr_tf.experiments.comparison.settings import read_experiment
from m3csr_tf.models.registry import model_class
from m3csr_tf.training import run_files
from m3csr_tf.util.files import write_json, write_text
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.names import is_plain
from m3csr_tf.util.quoting import shortened
from m3csr_tf.util.threads import cores
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.experiment_report import write_report
from m3csr_tf.verbs.experiment_tables import as_console


def experiment(
    config: Config,
    file: Path,
    overrides: Sequence[str],
    folders: Sequence[str] = (),
    processes: int | None = None,
    quick: bool = False,
) -> Path:
    """Runs the experiment of a file, several runs at a time, and writes results.json, tables, figures and a report.

    Finished runs are not repeated, and an interrupted one continues. If a run fails, its error is reported, and the
    other runs go on.

    Args:
      config: the defaults with the overrides. It gives the parent folder, and the experiment's name if `run.name` is
        set.
      file: the YAML file of the experiment (`experiments.comparison.settings`).
      overrides: settings for all runs, section.name=value, which are applied last.
      folders: NAME=FOLDER, folders of data sets that replace those of the file.
      processes: number of runs at a time; None takes the number of cores.
      quick: use the section `quick` of the file.

    Returns:
      The folder of the experiment.

    Raises:
      ConfigError: the file, a setting or an option is wrong. Nothing has been run in that case.
      RunError: the folder holds something else, or, at the end, a run has failed.
    """
    experiment = read_experiment(file, quick)
    name = config.run.name if "name" in config.run.model_fields_set else experiment.name or file.stem
    if not is_plain(name):
        raise ConfigError(f"{file}: its name cannot name a folder; give the experiment a name, e.g. name: paper")
    folder = config.run.folder / name
    if (folder / run_files.CONFIG_FILE).exists():
        raise RunError(f"{folder}: a run lies here; give the experiment another name")
    own = [one for one in overrides if not one.startswith(("run.name=", "run.folder="))]
    cells = plan(experiment, file, folder, own, _given(folders))
    for cell in cells:
        for model in cell.models:
            model_class(cell.bases[model].model)
    count = processes or cores()
    jobs = Jobs(experiment, cells)
    planned = jobs.all()
    say(
        f"{len(planned)} runs of {len(experiment.models)} models on {len(cells)} splits, {count} at a time, with "
        f"{tables.trials({'trials': experiment.trials})} for each model and up to {experiment.epochs:g} epochs a "
        f"training; logs in {folder / LOGS}"
    )
    with folder_lock(folder):
        outcomes = run([one.job for one in planned], folder, count, say)
        found = results.Results(experiment, cells, jobs, planned, outcomes)
        tree = found.tree(name, count)
        write_json(folder / results.RESULTS_FILE, tree)
        made = tables.sheets(tree)
        for sheet in made:
            sheet.write(folder / results.TABLES)
        write_text(folder / results.ALL_TABLES, tables.as_markdown(made, name))
        drawn = found.write_figures(folder)
        page = write_report(tree, made, drawn, found.finals(), found.first_seeds(), folder)
    for sheet in made:
        console.print(as_console(sheet))
    say(f"all figures: {folder / results.RESULTS_FILE}; tables: {folder / results.ALL_TABLES} and {folder / 'tables'}")
    if page is not None:
        say(f"report: {page}")
    problems = {one: outcome.problem for one, outcome in outcomes.items() if outcome.problem is not None}
    for one, problem in problems.items():
        say(f"{one} has failed: {problem}")
    if problems:
        raise RunError(f"{len(problems)} of {len(outcomes)} runs have failed: {', '.join(problems)}"[:400])
    return folder


def _given(folders: Sequence[str]) -> dict[str, Path]:
    """Returns data set -> folder, from the options --data."""
    given = {}
    for one in folders:
        name, _, folder = one.partition("=")
        if not name or not folder:
            raise ConfigError(f"--data {shortened(one)}: expected NAME=FOLDER with a data set of the experiment")
        given[name] = Path(folder)
    return given
