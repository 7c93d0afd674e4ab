"""ablations: measures what each component of the full model contributes (Table 3 of the paper)."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.experiments import ablations as ablation
from m3csr_tf.experiments.shared_prepared import share_prepared
from m3csr_tf.training import run_files
from m3csr_tf.util.files import write_json
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.evaluate import evaluate_run
from m3csr_tf.verbs.evaluated_systems import evaluate_without
from m3csr_tf.verbs.released_vectors import released
from m3csr_tf.verbs.score_variance import score_variance
from m3csr_tf.verbs.train import train


def ablations(config: Config, count: int) -> Path:
    """Trains and evaluates the full model and the ablations of Table 3 with `count` run seeds each.

    The runs are named as in `experiments.ablations.variants`; finished ones are not trained again. Each full model is
    also evaluated with every user unknown, and with uniform attention, which needs no training.

    Returns:
      The path <run folder>/<name>-ablations.json, which holds the metrics and the contribution of every variant, and
      the shares of the parts in the variance of the full model's scores.

    Raises:
      ConfigError, RunError: a setting is wrong or the name of a run is taken. Nothing has been trained in that case.
    """
    variants = ablation.variants(config, count)
    for seed_configs in variants.values():
        for seed_config in seed_configs:
            run_files.check_run(seed_config)
    first = variants[ablation.FULL][0]
    evaluated: dict[str, dict[str, list[Evaluation]]] = {
        variant: {columns.TEST: [], columns.VAL: []} for variant in (*variants, *ablation.UNTRAINED)
    }
    variances, initialisations = [], {}
    for variant, seed_configs in variants.items():
        for seed_config in seed_configs:
            say(f"{seed_config.run.name}: {ablation.ABLATIONS.get(variant, 'the full model')}")
            share_prepared(first, seed_config)
            trained = train(seed_config)
            initialisations[seed_config.run.name] = trained.finished.get("initialisation", "")
            vectors, title = released(trained), trained.model.title
            found = {variant: evaluate_run(trained, vectors)}
            if variant == ablation.FULL:
                variances.append(score_variance(trained))
                found |= evaluate_without(trained, vectors)
            for name, by_split in found.items():
                for split, systems in by_split.items():
                    evaluated[name][split].append(systems[title])
            # Without this, the graphs of all earlier runs would stay in memory.
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
    variance_of_score = ablation.variance_over_seeds(variances)
    path = config.run.folder / f"{config.run.name}-ablations.json"
    write_json(
        path, {"seeds": count, "variants": tree, "variance": variance_of_score, "initialisation": initialisations}
    )
    say(ablation.LEGEND)
    for split in (columns.TEST, columns.VAL):
        for variant, splits in tree.items():
            console.print(ablation.table(variant, split, splits[split]))
    console.print(ablation.variance_table(variance_of_score))
    if len(set(initialisations.values())) > 1:
        say(
            f"ids were not initialised alike ({initialisations}), so contributions are not of the components alone; "
            "with model.id_initialisation=walks or svd they are"
        )
    say(f"all figures, seed by seed: {path}")
    return path
