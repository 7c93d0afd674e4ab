"""seeds: trains and evaluates one configuration with several seeds."""

from __future__ import annotations

import numpy as np

from m3csr_tf import columns
from m3csr_tf.baselines.registry import CEILING
from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.experiments.spread import against_best, by_system, over_seeds, plus_minus, summarise
from m3csr_tf.models.registry import model_class
from m3csr_tf.training import run_files
from m3csr_tf.util.files import write_json
from m3csr_tf.util.names import check_room
from m3csr_tf.util.stored import stored_json
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.evaluate import evaluate
from m3csr_tf.verbs.evaluated_systems import titled
from m3csr_tf.verbs.train import train
from m3csr_tf.verbs.user_intensities import print_intensities


def seeds(config: Config, count: int) -> None:
    """Trains and evaluates the configuration with `count` run seeds; prints means, spreads and the baselines.

    The runs are named <name>-seed<k>, and the summary is <run folder>/<name>-seeds.json. Baselines do not depend on the
    seed, so they are evaluated with the first run only; they are the tuned ones if `evaluation.baselines` is not set.

    Raises:
      ConfigError: `run.name` is too long for the names of the runs. Nothing has been done in that case.
      RunError: the name of a run is taken.
    """
    check_room("run.name", len(config.run.name), f"{config.run.name}-seed{count - 1}")
    wanted = "tuned" if config.evaluation.baselines is None else config.evaluation.baselines
    outcomes, written = [], []
    for seed in range(count):
        run = config.run.model_copy(update={"name": f"{config.run.name}-seed{seed}", "seed": seed})
        evaluation = config.evaluation.model_copy(update={"baselines": () if seed else wanted})
        seed_config = config.model_copy(update={"run": run, "evaluation": evaluation})
        train(seed_config)
        outcomes.append(evaluate(seed_config))
        path = seed_config.run_folder / run_files.METRICS_FILE
        written.append(stored_json(path, "run the same command again", RunError))
    model = model_class(config.model).title
    baselines = {titled(name): evaluation for name, evaluation in outcomes[0].items() if name != model}
    summary = summarise([outcome[model] for outcome in outcomes], baselines)
    path = config.run.folder / f"{config.run.name}-seeds.json"
    validation = [metrics[columns.VAL]["all"] for metrics in written]
    # Only runs of a model that weighs modalities have intensities.
    intensity = [metrics["intensity"] for metrics in written if "intensity" in metrics]
    tree = {"seeds": count, "test": summary, "validation": validation}
    tree |= {"intensity": intensity} if intensity else {}
    # The file also holds each baseline's chosen settings, and its metrics on both splits.
    write_json(path, tree | {"baselines": written[0]["baselines"]})

    console.print(against_best(summary, model, count, leave_out=[titled(CEILING)]))
    if baselines:
        console.print(by_system(summary, model))
    recalls = [figures["recall@20"] for figures in validation]
    found = over_seeds(recalls)
    say(f"validation recall@20: {plus_minus(found['mean'], found['sd'])}")
    if intensity:
        means = {
            name: {figure: float(np.mean([of[name][figure] for of in intensity])) for figure in intensity[0][name]}
            for name in intensity[0]
        }
        print_intensities(means)
    say(f"all figures, seed by seed: {path}")
