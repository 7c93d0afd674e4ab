"""What the command line can do, one function a verb: each takes a configuration and prints what it did."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from m3csr_tf import columns, explain
from m3csr_tf import prepare as preparation
from m3csr_tf.batch.retrieve import retrieve as retrieve_lists
from m3csr_tf.batch.users import users_of
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.evaluation import baselines, report
from m3csr_tf.evaluation.intensities import intensity_correlations
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.evaluation.spread import summarise
from m3csr_tf.features.histories import histories
from m3csr_tf.files import write_json
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.serving.publish import publish, released_from
from m3csr_tf.serving.release import Release, open_release
from m3csr_tf.training import runs
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.streams import item_features
from m3csr_tf.training.vectors import VectorEncoder

MODEL = "M3CSR"
_EXAMPLE_LISTS = 10
_EXAMPLE_PLACES = 3

_BASELINES = {
    "popularity": baselines.popularity,
    "random": baselines.random_order,
    "rp3beta": baselines.rp3beta,
    "rp3beta_content": baselines.rp3beta_content,
    "ridge": baselines.ridge,
    "truth": baselines.true_utilities,
}

console = Console(width=None if sys.stdout.isatty() else 130)  # A log has no width; 80 would cut tables.


def prepare(config: Config) -> Prepared:
    """Raw input to the run's prepared folder."""
    runs.check_run(config)
    folder = config.run_folder / runs.PREPARED_FOLDER
    changed = runs.has_trained(config) and not preparation.is_current(config, folder)
    if changed and not config.run.overwrite:
        raise RunError(
            f"{config.run_folder}: input files or library versions have changed since this run was trained; "
            "choose another run.name for the new data, or pass run.overwrite=true to replace the run"
        )
    prepared = preparation.prepare(config, folder)
    runs.open_run(config, afresh=changed)
    console.print(preparation.summary(prepared))
    return prepared


def train(config: Config) -> TrainedRun:
    """Prepares if need be, then trains, or goes on with a run that was stopped."""
    prepared = prepare(config)
    folder = fit(config, prepared)
    trained = load_trained(folder)
    finished = trained.finished
    console.print(
        f"trained {finished['steps']:,} steps in {finished['training_seconds']:,.0f} s; "
        f"best validation recall@20 {finished['recall@20']:.4f} at step {finished['best_step']:,}"
    )
    return trained


def evaluate(config: Config) -> dict[str, Evaluation]:
    """Ranks the catalogue for the validation and test users, beside baselines; writes metrics.json.

    Returns:
      System -> its evaluation on the test split.
    """
    trained = _trained(config)
    prepared = trained.prepared
    features = item_features(prepared)
    encoder = VectorEncoder(trained.model, features)
    rows, slots = np.arange(len(prepared.users), dtype=np.int32), _histories(trained)
    systems = {MODEL: baselines.Vectors(encoder.users(rows, slots), encoder.items())}
    systems |= {name: _BASELINES[name](prepared) for name in config.evaluation.baselines if _possible(name, prepared)}
    without_intervals = config.evaluation.model_copy(update={"bootstrap": 0})
    evaluated = {
        split: {
            name: report.evaluate_split(prepared, *vectors, split, settings, config.run.seed)
            for name, vectors in systems.items()
        }
        for split, settings in ((columns.TEST, config.evaluation), (columns.VAL, without_intervals))
    }
    tree: dict[str, Any] = {split: of_split[MODEL].to_json() for split, of_split in evaluated.items()}
    tree["baselines"] = {
        name: {split: of_split[name].to_json() for split, of_split in evaluated.items()}
        for name in systems
        if name != MODEL
    }
    tree["training"] = trained.finished
    tree["intensity"] = _intensities(trained, encoder, slots)
    report.write_metrics(config.run_folder / runs.METRICS_FILE, tree)
    test = evaluated[columns.TEST]
    console.print(report.table({_titled(name): evaluation for name, evaluation in test.items()}))
    _print_intensities(tree["intensity"])
    return test


def release(config: Config) -> Release:
    """Exports the towers, builds the index over all items and publishes both as one version."""
    released = publish(_trained(config))
    index = released.index.report
    console.print(
        f"released version {released.version} to {config.release_folder}: user_tower, item_tower and an index of "
        f"{len(released.index):,} items ({', '.join(f'{key} {value}' for key, value in index.items())})"
    )
    return released


def retrieve(config: Config) -> Path:
    """Top-N lists from the release, for a file of users or for all users of the prepared data."""
    released = open_release(config.release_folder)
    output = config.retrieve.output or config.run_folder / runs.LISTS_FILE
    users: Path | pd.DataFrame
    if config.retrieve.users is not None:
        users = config.retrieve.users
    else:
        trained = _trained(config)
        if not released_from(released.manifest, trained):
            raise RunError(
                f"{config.release_folder}: version {released.version} was released from another training of this run; "
                "run pipelines/release.py first"
            )
        users = users_of(trained.prepared, _histories(trained))
    done = retrieve_lists(released, users, output, config.retrieve)
    console.print(f"{done.rows:,} rows for {done.users:,} users in {output}")
    if done.short:
        console.print(f"{done.short:,} lists are shorter than {config.retrieve.top_n}: the rest was seen or excluded")
    _print_examples(output, released)
    return output


def run_all(config: Config) -> None:
    """prepare, train, evaluate, release and retrieve, then where everything lies."""
    train(config)
    evaluate(config)
    release(config)
    output = retrieve(config)
    table = Table("what", "where")
    for what, where in {
        "configuration, versions": config.run_folder / runs.CONFIG_FILE,
        "prepared data": config.run_folder / runs.PREPARED_FOLDER,
        "training logs (TensorBoard)": config.run_folder / runs.LOGS,
        "metrics": config.run_folder / runs.METRICS_FILE,
        "user tower": config.release_folder / columns.USER_TOWER,
        "item tower": config.release_folder / columns.ITEM_TOWER,
        "ScaNN index": config.release_folder / columns.INDEX,
        "release manifest": config.release_folder / columns.MANIFEST,
        "top-N lists": output,
    }.items():
        table.add_row(what, str(where))
    console.print(table)


def seeds(config: Config, count: int) -> None:
    """Trains and evaluates the configuration with `count` run seeds; prints means, spreads and the baselines beside.

    Runs are called <name>-seed<k>; the summary is <run folder>/<name>-seeds.json.
    """
    outcomes, written = [], []
    for seed in range(count):
        run = config.run.model_copy(update={"name": f"{config.run.name}-seed{seed}", "seed": seed})
        of_seed = config.model_copy(update={"run": run})
        train(of_seed)
        outcomes.append(evaluate(of_seed))
        written.append(json.loads((of_seed.run_folder / runs.METRICS_FILE).read_text(encoding="utf-8")))
    rivals = {_titled(name): evaluation for name, evaluation in outcomes[0].items() if name != MODEL}
    summary = summarise([outcome[MODEL] for outcome in outcomes], rivals)
    path = config.run.folder / f"{config.run.name}-seeds.json"
    validation = [metrics[columns.VAL]["all"] for metrics in written]
    intensity = [metrics["intensity"] for metrics in written]
    write_json(path, {"seeds": count, "test": summary, "validation": validation, "intensity": intensity})

    title = "test, mean +- standard deviation over seeds; p: paired t-test over users"
    table = Table("slice", "metric", f"{MODEL}, {count} seeds", *rivals, title=title, title_justify="left")
    for slice_name, metrics in summary.items():
        for metric, figures in metrics.items():
            cells = [f"{rival['mean']:.4f} (p {rival['p']:.1e})" for rival in figures["rivals"].values()]
            table.add_row(slice_name, metric, f"{figures['mean']:.4f} +- {figures['sd']:.4f}", *cells)
    console.print(table)
    recalls = [figures["recall@20"] for figures in validation]
    console.print(f"validation recall@20: {np.mean(recalls):.4f} +- {np.std(recalls, ddof=min(1, count - 1)):.4f}")
    means = {
        name: {figure: float(np.mean([of[name][figure] for of in intensity])) for figure in intensity[0][name]}
        for name in intensity[0]
    }
    _print_intensities(means)
    console.print(f"all figures, seed by seed: {path}")


def sweep(config: Config, space_file: Path, trials: int) -> Path:
    """Searches the space around a configuration until it has `trials` trials; judges on validation alone.

    Returns:
      The sweep's folder, with the study, all trials as a CSV, and plots.
    """
    try:
        # The sweep's libraries are an extra that nothing else needs.
        from m3csr_tf.sweep import results
        from m3csr_tf.sweep.space import load_space
        from m3csr_tf.sweep.study import outcomes, overrides_of, search, sweep_folder
    except ModuleNotFoundError as error:
        raise ConfigError(f"a sweep needs {error.name}, which is missing: pip install 'm3csr_tf[sweep]'") from None
    space = load_space(space_file, config)
    study = search(config, space, trials, console)
    found, folder = outcomes(study), sweep_folder(config, space)
    results.write_trials(folder / results.TRIALS_FILE, found)
    importances = results.importances(study, config.run.seed)
    plots = results.write_plots(folder, found, importances, space.settings)
    console.print(results.best_table(found))
    if importances:
        console.print(results.importance_table(importances))
    best = results.best_first(found)
    if best:
        console.print(f"best settings: {overrides_of(best[0].settings)}", highlight=False)
    console.print(f"all trials: {folder / results.TRIALS_FILE}; {len(plots)} plots beside it")
    return folder


def _trained(config: Config) -> TrainedRun:
    """The finished run of the configuration, refused if another one lies under its name.

    Its settings are the ones given: those of evaluation, index and retrieval may differ from when it was trained.
    """
    found = runs.differing(config)
    if found:
        raise RunError(
            f"{config.run_folder}: the run was trained with other settings ({'; '.join(found[:4])}); "
            "pass the settings it was trained with, or train it again"
        )
    return dataclasses.replace(load_trained(config.run_folder), config=config)


def _histories(trained: TrainedRun) -> np.ndarray:
    train_clicks = trained.prepared.split(columns.TRAIN)
    config = trained.config
    return histories(train_clicks, len(trained.prepared.users), config.history.length, config.split.seed)


def _possible(baseline: str, prepared: Prepared) -> bool:
    """Whether a baseline can be had: only a synthetic world knows its truth."""
    return baseline != "truth" or prepared.truth() is not None


def _titled(system: str) -> str:
    return "truth (ceiling)" if system == "truth" else system


def _intensities(trained: TrainedRun, encoder: VectorEncoder, slots: np.ndarray) -> dict[str, dict[str, float]]:
    """Mean and spread of the learned intensities over the users, and in a world their correlation with the truth."""
    prepared = trained.prepared
    rows = np.arange(FIRST_ROW, len(prepared.users), dtype=np.int32)
    learned = encoder.intensities(rows, slots[FIRST_ROW:])
    tree = {
        name: {"mean": float(learned[:, position].mean()), "spread": float(learned[:, position].std())}
        for position, name in enumerate(prepared.modalities)
    }
    truth = prepared.truth()
    if truth is not None:
        found = intensity_correlations(learned, truth["intensities"], prepared.modalities, trained.config.run.seed)
        tree = {name: figures | found[name] for name, figures in tree.items()}
    return tree


def _print_intensities(intensity: Mapping[str, Mapping[str, float]]) -> None:
    title = "learned intensities over users"
    table = Table("modality", *next(iter(intensity.values())), title=title, title_justify="left")
    for name, figures in intensity.items():
        table.add_row(name, *(f"{value:.3f}" for value in figures.values()))
    console.print(table)


def _print_examples(output: Path, released: Release) -> None:
    """The top of the first lists, with the reason for each item."""
    first = next(pq.ParquetFile(output).iter_batches(batch_size=_EXAMPLE_LISTS * 1000), None)
    if first is None:
        return
    lists = first.to_pandas()
    table = Table("user", "rank", "item", "score", "because of", title="example lists", title_justify="left")
    for user in lists[columns.USER_ID].unique()[:_EXAMPLE_LISTS]:
        rows = lists[lists[columns.USER_ID] == user].head(_EXAMPLE_PLACES)
        for place, (_, row) in enumerate(rows.iterrows()):
            because = explain.reasons(row, released.layout)
            cells = (str(row[columns.RANK]), row[columns.ITEM_ID], f"{row[columns.SCORE]:.3f}", because)
            table.add_row("" if place else user, *cells, end_section=place == len(rows) - 1)
    console.print(table)
