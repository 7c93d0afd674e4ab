"""Training examples a second of every kind of model by its own recipe, beside M3CSR's, in turn in one process.

python benchmarks/model_speed.py --config pipelines/configs/tiktok.yaml data.path=FOLDER

Without --config: the built-in world. A round takes some steps of each model, one after the other, with input, loss and
optimizer, not validation; where the weights start (closed forms) is not counted, nor is the first round, which builds
the graphs. A setting that is given holds for all kinds: without any, each has the batch size and the negatives of its
recipe, and what an example costs differs by what it is compared with. With --processor, seconds are those of the
processor, for a machine that is busy with something else.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from figures import Figure, in_turn, report

from m3csr_tf import config as configuration

ON_THE_WORLD = ["data.format=world", "split.kind=random"]
COMPARED_WITH = "m3csr"
QUICK = ["data.world.users=800", "data.world.items=400", "data.world.clicks=12000", "ials.sweeps=2"]


def main(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.NAME=VALUE]...")] = None,
    kinds: Annotated[str, typer.Option(help="Kinds of model by commas, instead of all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 5,
    examples: Annotated[int, typer.Option(min=1, help="Examples of each model in a round.")] = 65_536,
    processor: Annotated[bool, typer.Option("--processor", help="Seconds of the processor, not of the wall.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A small world, two rounds of few steps.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure training steps of every kind of model."""
    import tensorflow as tf

    from m3csr_tf.models.registry import MODELS

    tf.get_logger().setLevel("ERROR")  # A graph for each model is what is wanted, and no reason to warn of tracings.
    given = ["run.threads=1", *([] if config else ON_THE_WORLD), *(QUICK if quick else []), *(overrides or [])]
    chosen = [kind for kind in kinds.split(",") if kind] or list(MODELS)
    unknown = [kind for kind in chosen if kind not in MODELS]
    if unknown:
        raise typer.BadParameter(f"--kinds: expected some of {', '.join(MODELS)}, got {', '.join(unknown)}")
    if COMPARED_WITH in chosen:
        chosen.sort(key=lambda kind: kind != COMPARED_WITH)
    rounds, examples = (2, 8192) if quick else (rounds, examples)
    with tempfile.TemporaryDirectory() as folder:
        models = {kind: Model(kind, config, given, Path(folder) / kind, examples) for kind in chosen}
        clock = time.process_time if processor else time.perf_counter
        seconds = in_turn(rounds, clock, **{kind: model.take_steps for kind, model in models.items()})
    rates = {kind: [model.examples / took for took in seconds[kind]] for kind, model in models.items()}
    figures: list[Figure] = []
    unit = "examples/s of the processor" if processor else "examples/s"
    for kind, model in models.items():
        compared_with = COMPARED_WITH if kind != COMPARED_WITH and COMPARED_WITH in rates else None
        ratios = (
            [mine / its for mine, its in zip(rates[kind], rates[compared_with], strict=True)] if compared_with else []
        )
        figures.append(Figure(kind, unit, rates[kind], compared_with, ratios, model.setting))
    settings = models[chosen[0]].settings
    threads = "one thread" if settings.run.threads == 1 else f"{settings.run.threads} threads"
    report(f"{settings.run.name}: training, {threads}, {rounds} rounds in turn", figures, json_path)
    for kind, model in models.items():
        print(f"{kind}: " + ", ".join(f"{name} {value}" for name, value in model.setting.items()))


class Model:
    """A model in training.

    Args:
      kind: its kind.
      config: YAML file of settings, or None.
      given: settings over those.
      folder: where its data are prepared.
      examples: how many a round takes, rounded up to whole steps.
    """

    def __init__(self, kind: str, config: Path | None, given: list[str], folder: Path, examples: int) -> None:
        from m3csr_tf.models.registry import build_model, model_class
        from m3csr_tf.prepare import prepare
        from m3csr_tf.sampling.training_data import TrainingData
        from m3csr_tf.training.budget import Budget
        from m3csr_tf.training.runtime import configure
        from m3csr_tf.training.steps import make_optimizer
        from m3csr_tf.training.streams import ExampleStream
        from m3csr_tf.training.validation import validation_recall_of

        self.settings = settings = configuration.load(config, [*given, f"model.kind={kind}"])
        configure(settings.run)
        prepared = prepare(settings, folder)
        data = TrainingData.of(prepared, settings, model_class(settings.model).needs_item_graph(settings))
        self._model = build_model(settings, prepared)
        started = self._model.initialise(data, prepared, validation_recall_of(self._model, data, prepared, settings))
        data = dataclasses.replace(data, cross_ids=started.cross_ids)
        stream = ExampleStream(data, settings, self._model.collator(data))
        budget = Budget.of(settings.training, int(prepared.train_clicks.sum()))
        self._model.compile(optimizer=make_optimizer(settings.training, self._model, budget.steps))
        self._batches = iter(stream.dataset(0, 2**40))
        size = settings.training.batch_size
        self._steps = -(-examples // size)
        self.examples = self._steps * size
        self.setting: dict[str, Any] = {
            "batch": size,
            "steps a round": self._steps,
            "loss": settings.training.loss,
            "negatives": settings.negatives.kind,
            "weights": sum(int(variable.shape.num_elements()) for variable in self._model.trainable_variables),
        }

    @property
    def take_steps(self) -> Callable[[], float]:
        """A function that takes the steps of a round, and returns the sum of their losses."""
        import tensorflow as tf

        from m3csr_tf.training.steps import take_steps

        count = tf.constant(self._steps)
        return lambda: float(take_steps(self._model, self._batches, count))


if __name__ == "__main__":
    typer.run(main)
