"""Whether validation clicks in training help: a final fit on train and validation, beside the run that chose, on test.

python benchmarks/final_fit.py --config pipelines/configs/mlsmall.yaml data.path=FOLDER/mlsmall/random --count 3
python benchmarks/final_fit.py --config pipelines/configs/tiktok.yaml data.path=FOLDER/tiktok --count 3

For each seed a run is trained on train and chosen on validation; then the same recipe is fitted on train and validation
for as many epochs. Test judges both once, and chooses nothing. The paired test is over users, of whom each has the mean
of her figures over the seeds. The figures are in runs/NAME-final-fit.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf import config as configuration
from m3csr_tf.config import Config, with_settings
from m3csr_tf.evaluation.report import ALL, Evaluation
from m3csr_tf.experiments.spread import average, over_seeds, plus_minus
from m3csr_tf.util.files import write_json

METRICS = ("recall@20", "ndcg@20")
WIDTH = 130


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, e.g. data.path=FOLDER.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Seeds 0 to COUNT - 1.")] = 3,
) -> None:
    """Train, fit on train and validation, judge both on test; print figures and a paired test."""
    settings = configuration.load(config, overrides or [])
    found = study(settings, count)
    write_json(settings.run.folder / f"{settings.run.name}-final-fit.json", found)
    Console(width=WIDTH).print(table(found))


def study(config: Config, count: int) -> dict[str, Any]:
    """The figures of both by seed, and the paired tests.

    Returns:
      {"seeds": [{"best_step", "steps" (of the final fit), "clicks", "final_clicks"}], metric: {"choice", "final":
      {"mean", "sd", "seeds"}, "test": the final fit (first) against the choice (second)}}.
    """
    from m3csr_tf.evaluation.significance import compare
    from m3csr_tf.verbs.evaluated_systems import evaluate_systems
    from m3csr_tf.verbs.load_run import load_released, load_run
    from m3csr_tf.verbs.train import train

    both: dict[str, list[Evaluation]] = {"choice": [], "final": []}
    seeds = []
    for seed in range(count):
        of_seed = with_settings(
            config,
            {
                "run.name": f"{config.run.name}-seed{seed}",
                "run.seed": seed,
                "training.final_fit": True,
                "training.final_clicks": "train_val",
                "evaluation.baselines": [],
            },
        )
        train(of_seed)
        chose, final = load_run(of_seed), load_released(of_seed)
        for name, trained in (("choice", chose), ("final", final)):
            [evaluation] = evaluate_systems(trained, columns.TEST).values()
            both[name].append(evaluation)
        seeds.append(
            {
                "best_step": chose.finished["best_step"],
                "steps": final.finished["steps"],
                "clicks": chose.finished["budget"]["clicks"],
                "final_clicks": final.finished["budget"]["clicks"],
            }
        )
    found: dict[str, Any] = {"seeds": seeds}
    # Of the whole test alone: what is cold or has few clicks depends on the clicks that were trained on.
    averaged = {
        name: average([Evaluation({ALL: one[ALL]}) for one in evaluations]) for name, evaluations in both.items()
    }
    for metric in METRICS:
        found[metric] = {
            name: over_seeds([one[ALL].mean(metric) for one in evaluations]) for name, evaluations in both.items()
        } | {"test": vars(compare(averaged["final"], averaged["choice"], metric))}
    return found


def table(found: dict[str, Any]) -> Table:
    """A row a metric."""
    shown = Table("metric", "users", "train alone", "train and validation", "difference", "95% interval", "p")
    shown.title = "test, mean +- standard deviation over seeds; p: paired t-test over users"
    for metric in METRICS:
        test = found[metric]["test"]
        figures = (plus_minus(found[metric][name]["mean"], found[metric][name]["sd"]) for name in ("choice", "final"))
        interval = f"{test['low']:+.4f} to {test['high']:+.4f}"
        shown.add_row(
            metric, f"{test['users']:,}", *figures, f"{test['difference']:+.4f}", interval, f"{test['p_value']:.2g}"
        )
    return shown


if __name__ == "__main__":
    typer.run(main)
