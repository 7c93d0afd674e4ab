"""seeds, ablations, sweep: many runs of one command."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.baselines.registry import CEILING
from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.experiments import ablations as ablation
from m3csr_tf.experiments.spread import against_best, of_systems, summarise
from m3csr_tf.training import runs
from m3csr_tf.util.files import held, write_json
from m3csr_tf.util.names import check_room
from m3csr_tf.util.stored import stored_json
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.evaluation import (
    MODEL,
    evaluate,
    evaluate_run,
    evaluate_without,
    print_intensities,
    released,
    titled,
)
from m3csr_tf.verbs.score_variance import score_variance
from m3csr_tf.verbs.training import train


def seeds(config: Config, count: int) -> None:
    """Trains and evaluates the configuration with `count` run seeds; prints means, spreads and the baselines beside.

    Runs are called <name>-seed<k>; the summary is <run folder>/<name>-seeds.json. The baselines, tuned ones where
    `evaluation.baselines` does not say, are the same for every seed, so they are evaluated with the first alone.

    Raises:
      ConfigError: before anything is done, when `run.name` is too long for the names of the runs.
      RunError: a run's name is taken.
    """
    check_room("run.name", len(config.run.name), f"{config.run.name}-seed{count - 1}")
    wanted = "tuned" if config.evaluation.baselines is None else config.evaluation.baselines
    outcomes, written = [], []
    for seed in range(count):
        run = config.run.model_copy(update={"name": f"{config.run.name}-seed{seed}", "seed": seed})
        evaluation = config.evaluation.model_copy(update={"baselines": () if seed else wanted})
        of_seed = config.model_copy(update={"run": run, "evaluation": evaluation})
        train(of_seed)
        outcomes.append(evaluate(of_seed))
        path = of_seed.run_folder / runs.METRICS_FILE
        written.append(stored_json(path, "run the same command again", RunError))
    rivals = {titled(name): evaluation for name, evaluation in outcomes[0].items() if name != MODEL}
    summary = summarise([outcome[MODEL] for outcome in outcomes], rivals)
    path = config.run.folder / f"{config.run.name}-seeds.json"
    validation = [metrics[columns.VAL]["all"] for metrics in written]
    intensity = [metrics["intensity"] for metrics in written]
    tree = {"seeds": count, "test": summary, "validation": validation, "intensity": intensity}
    # Every baseline's choice and its figures on both splits.
    write_json(path, tree | {"baselines": written[0]["baselines"]})

    console.print(against_best(summary, MODEL, count, leave_out=[titled(CEILING)]))
    if rivals:
        console.print(of_systems(summary, MODEL))
    recalls = [figures["recall@20"] for figures in validation]
    say(f"validation recall@20: {np.mean(recalls):.4f} +- {np.std(recalls, ddof=min(1, count - 1)):.4f}")
    means = {
        name: {figure: float(np.mean([of[name][figure] for of in intensity])) for figure in intensity[0][name]}
        for name in intensity[0]
    }
    print_intensities(means)
    say(f"all figures, seed by seed: {path}")


def ablations(config: Config, count: int) -> Path:
    """Trains and evaluates the full model and the ablations of Table 3 with `count` run seeds each.

    Runs are called as in `experiments.ablations.variants`; those that have finished are not trained again. Each full
    model is also evaluated with every user unknown and with uniform attention, which takes no training.

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
    evaluated: dict[str, dict[str, list[Evaluation]]] = {
        variant: {columns.TEST: [], columns.VAL: []} for variant in (*variants, *ablation.UNTRAINED)
    }
    variances, id_starts = [], {}
    for variant, of_seeds in variants.items():
        for of_seed in of_seeds:
            say(f"{of_seed.run.name}: {ablation.ABLATIONS.get(variant, 'the full model')}")
            share_prepared(first, of_seed)
            trained = train(of_seed)
            id_starts[of_seed.run.name] = trained.finished.get("id_start", "")
            vectors = released(trained)
            found = {variant: evaluate_run(trained, vectors)}
            if variant == ablation.FULL:
                variances.append(score_variance(trained))
                found |= evaluate_without(trained, vectors)
            for name, by_split in found.items():
                for split, systems in by_split.items():
                    evaluated[name][split].append(systems[MODEL])
            # Else the graphs of all runs would stay in memory.
            del trained, vectors
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
    write_json(path, {"seeds": count, "variants": tree, "variance": of_score, "id_start": id_starts})
    say(ablation.LEGEND)
    for split in (columns.TEST, columns.VAL):
        for variant, splits in tree.items():
            console.print(ablation.table(variant, split, splits[split]))
    console.print(ablation.variance_table(of_score))
    if len(set(id_starts.values())) > 1:
        say(
            f"ids did not start alike ({id_starts}), so contributions are not of the components alone; "
            "model.id_start=walks or svd makes them"
        )
    say(f"all figures, seed by seed: {path}")
    return path


def sweep(config: Config, space_file: Path, trials: int) -> Path:
    """Searches the space around a configuration until it has `trials` trials; judges on validation alone.

    Returns:
      The sweep's folder, with the study, all trials as a CSV, and plots.
    """
    try:
        # The sweep's libraries are an extra that nothing else needs.
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


def share_prepared(first: Config, other: Config) -> None:
    """Gives a run the prepared files of the first one as links, so that all runs of the data take the disc of one.

    Files of a prepared folder are replaced, never changed, so a link is as good as a copy. Whether the folder is the
    right one, `prepare` finds out as always, and builds it where it was not linked.
    """
    source, target = (config.run_folder / runs.PREPARED_FOLDER for config in (first, other))
    with held(other.run_folder):
        if not target.exists() and source.exists():
            _link(source, target)


def _link(source: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.linking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(source, beside, copy_function=os.link)
        beside.rename(target)
    except OSError:  # A file system without links.
        shutil.rmtree(beside, ignore_errors=True)
