"""What the command line can do, one function a verb: each takes a configuration and prints what it did."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from m3csr_tf import columns, explain
from m3csr_tf import prepare as preparation
from m3csr_tf.batch.retrieve import retrieve as retrieve_lists
from m3csr_tf.batch.users import users_of
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.evaluation import ablations as ablation
from m3csr_tf.evaluation import baselines, exposure, report, variance
from m3csr_tf.evaluation import frontier as frontiers
from m3csr_tf.evaluation.intensities import intensity_correlations
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.evaluation.spread import summarise
from m3csr_tf.features.histories import histories
from m3csr_tf.files import write_json
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.serving.publish import publish, released_from
from m3csr_tf.serving.release import Release, open_release
from m3csr_tf.towers import layout
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

    The item vectors are those of a release, cold items' bonus (`exposure`) included.

    Returns:
      System -> its evaluation on the test split.
    """
    return _evaluate(_trained(config))[columns.TEST]


def _evaluate(trained: TrainedRun) -> dict[str, dict[str, Evaluation]]:
    """`evaluate` of a run that is open already; what comes back is split -> system -> evaluation."""
    config, prepared = trained.config, trained.prepared
    features = item_features(prepared)
    encoder = VectorEncoder(trained.model, features)
    slots = _histories(trained)
    plain = _vectors(trained, encoder, slots)
    bonus = _cold_bonus(trained, plain)
    raised = exposure.with_bonus(plain.item_vectors, exposure.cold_items(prepared), bonus)
    systems = {MODEL: baselines.Vectors(plain.user_vectors, raised)}
    systems |= {name: _BASELINES[name](prepared) for name in config.evaluation.baselines if _possible(name, prepared)}
    without_intervals = config.evaluation.model_copy(update={"bootstrap": 0})
    evaluated = {
        split: {
            name: report.evaluate_split(prepared, *of_system, split, settings, config.run.seed)
            for name, of_system in systems.items()
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
    tree["exposure"] = {"cold_share": config.exposure.cold_share, "cold_bonus": bonus}
    tree["intensity"] = _intensities(trained, encoder, slots)
    report.write_metrics(config.run_folder / runs.METRICS_FILE, tree)
    test = evaluated[columns.TEST]
    console.print(report.table({_titled(name): evaluation for name, evaluation in test.items()}))
    _print_intensities(tree["intensity"])
    return evaluated


def release(config: Config) -> Release:
    """Exports the towers, builds the index over all items and publishes both as one version."""
    trained = _trained(config)
    encoder = VectorEncoder(trained.model, item_features(trained.prepared))
    bonus = _cold_bonus(trained, _vectors(trained, encoder, _histories(trained)))
    released = publish(trained, cold_bonus=bonus)
    index = released.index.report
    console.print(
        f"released version {released.version} to {config.release_folder}: user_tower, item_tower and an index of "
        f"{len(released.index):,} items ({', '.join(f'{key} {value}' for key, value in index.items())})"
    )
    return released


def frontier(config: Config, split: str = columns.VAL) -> list[frontiers.Point]:
    """What shares of cold items in the lists cost and give; writes frontier.csv and frontier.png beside the metrics."""
    trained = _trained(config)
    encoder = VectorEncoder(trained.model, item_features(trained.prepared))
    points = frontiers.frontier(trained.prepared, *_vectors(trained, encoder, _histories(trained)), split, config)
    written = frontiers.write(config.run_folder, points)
    console.print(frontiers.table(points, split))
    console.print(f"the same as a table and a plot: {', '.join(map(str, written))}")
    return points


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


def ablations(config: Config, count: int) -> Path:
    """Trains and evaluates the full model and the ablations of Table 3 with `count` run seeds each.

    Runs are called as in `evaluation.ablations.variants`; those that have finished are not trained again.

    Returns:
      <run folder>/<name>-ablations.json: figures and contributions of every variant, and what the full model's scores
      are made of.

    Raises:
      ConfigError, RunError: before anything is trained, when a setting is at fault or a run's name is taken.
    """
    variants = ablation.variants(config, count)
    for of_seeds in variants.values():
        for of_seed in of_seeds:
            runs.check_run(of_seed)
    first = variants[ablation.FULL][0]
    evaluated: dict[str, dict[str, list[Evaluation]]] = {}
    variances = []
    for variant, of_seeds in variants.items():
        evaluated[variant] = {columns.TEST: [], columns.VAL: []}
        for of_seed in of_seeds:
            console.print(f"{of_seed.run.name}: {ablation.ABLATIONS.get(variant, 'the full model')}")
            _share_prepared(first, of_seed)
            trained = train(of_seed)
            found = _evaluate(trained)
            for split, outcomes in evaluated[variant].items():
                outcomes.append(found[split][MODEL])
            if variant == ablation.FULL:
                variances.append(_score_variance(trained))
            # Else the graphs of all runs would stay in memory.
            del trained
            tf.keras.backend.clear_session()
            gc.collect()
    tree: dict[str, Any] = {}
    for variant, splits in evaluated.items():
        tree[variant] = {split: {"figures": ablation.figures(outcomes)} for split, outcomes in splits.items()}
        if variant != ablation.FULL:
            for split, outcomes in splits.items():
                full = evaluated[ablation.FULL][split]
                tree[variant][split]["contribution"] = ablation.contributions(full, outcomes)
    of_score = ablation.over_seeds(variances)
    path = config.run.folder / f"{config.run.name}-ablations.json"
    write_json(path, {"seeds": count, "variants": tree, "variance": of_score})
    for split in (columns.TEST, columns.VAL):
        console.print(ablation.table(split, tree))
    console.print(ablation.variance_table(of_score))
    console.print(f"all figures, seed by seed: {path}")
    return path


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


def _vectors(trained: TrainedRun, encoder: VectorEncoder, slots: np.ndarray) -> baselines.Vectors:
    """The model's own vectors of all users and items, without a bonus for cold items."""
    rows = np.arange(len(trained.prepared.users), dtype=np.int32)
    return baselines.Vectors(encoder.users(rows, slots), encoder.items())


def _cold_bonus(trained: TrainedRun, vectors: baselines.Vectors) -> float:
    """What evaluation and release add to the scores of cold items: one number, so that the two agree."""
    config = trained.config
    return exposure.calibrated_bonus(
        trained.prepared, *vectors, config.exposure, config.run.seed, config.evaluation.block
    )


def _share_prepared(first: Config, other: Config) -> None:
    """Gives a run the prepared files of the first one as links, so that all runs of the data take the disc of one.

    Files of a prepared folder are replaced, never changed, so a link is as good as a copy. Whether the folder is the
    right one, `prepare` finds out as always, and builds it where it was not linked.
    """
    source, target = (config.run_folder / runs.PREPARED_FOLDER for config in (first, other))
    if target.exists() or not source.exists():
        return
    beside = target.with_name(f".{target.name}.linking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(source, beside, copy_function=os.link)
        beside.rename(target)
    except OSError:  # A file system without links.
        shutil.rmtree(beside, ignore_errors=True)


def _score_variance(trained: TrainedRun) -> dict[str, dict[str, float]]:
    """What a full model's scores of all known items are made of, averaged over the validation users.

    Its own scores, without a bonus for cold items.

    Returns:
      "parts": part of the score -> share of the variance, modalities whole and in halves; "components": ablation ->
      what the score's differences owe to it. L_orth is no part of a score and is left out.
    """
    prepared, config = trained.prepared, trained.config
    encoder = VectorEncoder(trained.model, item_features(prepared))
    rows = np.unique(prepared.split(columns.VAL)[columns.USER_ROW].to_numpy(np.int32))
    slots = _histories(trained)[rows]
    users, items = encoder.users(rows, slots), encoder.items()[FIRST_ROW:]
    modalities, parts = prepared.modalities, layout.parts(config.model, prepared.modalities)
    shares = variance.shares(users, items, variance.halved(parts, modalities))
    if not shares:
        return {"parts": {}, "components": {}}
    halves = {name: [variance.half(name, of) for of in (variance.CONTENT, variance.CLUSTER)] for name in modalities}
    of_parts: dict[str, float] = {}
    for name in parts:
        finer = halves.get(name, [])
        of_parts |= {name: sum(shares[of] for of in finer) if finer else shares[name]}
        of_parts |= {of: shares[of] for of in finer}

    intensities = encoder.intensities(rows, slots)
    carried = {name: intensities[:, position] for position, name in enumerate(modalities)}
    means = {name: float(weight.mean()) for name, weight in carried.items()}
    alike_users = variance.reweighed(users, carried, means, parts)

    gate = trained.model.item_tower.gate
    assert gate is not None  # It is a component of every full model (`ablation.variants`).
    delta = gate(prepared.bins[FIRST_ROW:]).numpy()[:, 0]
    mean = float(delta[prepared.train_clicks[FIRST_ROW:] > 0].mean())
    carried = {name: delta for name in modalities} | {layout.ID_PART: 1 - delta}
    means = {name: mean for name in modalities} | {layout.ID_PART: 1 - mean}
    alike_items = variance.reweighed(items, carried, means, parts)

    components = {
        "intensity": variance.lost(users, items, alike_users, items),
        "clusters": sum(shares[variance.half(name, variance.CLUSTER)] for name in modalities),
        "gate": variance.lost(users, items, users, alike_items),
    }
    return {"parts": of_parts, "components": components}


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
