"""Training examples a second over whole epochs, beside the bare matrix products of a step and the input alone.

python benchmarks/training_speed.py --config pipelines/configs/tiktok_paper.yaml data.path=FOLDER run.threads=1

Without --config: the paper's settings on the built-in world, on one thread. An epoch's wall clock covers input, model,
optimizer and weight averaging, not validation; the first epoch, which builds the graph, is not counted. The bare loop
does the matrix products of a step and nothing else: forward, backward and the folding of weights, at their mean shapes
over some batches. The profile sums the kernels' own times by kind.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from figures import compared, in_turn, report
from rich.console import Console
from rich.table import Table

from m3csr_tf import config as configuration

PAPER = Path(__file__).parents[1] / "pipelines/configs/tiktok_paper.yaml"
ON_THE_WORLD = ["data.format=world", "split.kind=random", "run.threads=1"]
PRODUCTS = ("MatMul", "BatchMatMulV2", "BatchMatMulV3")
SAMPLED_STEPS = 8
PROFILED_STEPS = 20


def main(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.NAME=VALUE]...")] = None,
    epochs: Annotated[int, typer.Option(help="Epochs that count.")] = 5,
    profile: Annotated[bool, typer.Option(help="Profile some steps as well.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Two epochs, no profile.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure whole epochs of training."""
    import tensorflow as tf

    from m3csr_tf.prepare import prepare
    from m3csr_tf.sampling.training_data import TrainingData
    from m3csr_tf.training.budget import Budget
    from m3csr_tf.training.runs import build_model
    from m3csr_tf.training.runtime import configure
    from m3csr_tf.training.steps import make_optimizer, take_steps
    from m3csr_tf.training.streams import ExampleStream

    settings = configuration.load(config or PAPER, ([] if config else ON_THE_WORLD) + (overrides or []))
    configure(settings.run)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(settings, Path(folder) / "prepared")
        data = TrainingData.of(prepared, settings)
        model = build_model(settings, prepared)
        stream = ExampleStream(data, settings, model.collator(data))
        budget = Budget.of(settings.training, int(prepared.train_clicks.sum()))
        model.compile(optimizer=make_optimizer(settings.training, model, budget.steps))
        size = settings.training.batch_size
        steps = -(-stream.examples_per_epoch // size)
        # Before the graph is built: they run some steps one operation at a time.
        bare = _bare_loop(_products(model, list(stream.dataset(0, SAMPLED_STEPS))))
        endless = [iter(stream.dataset(0, 2**40)) for _ in range(2)]
        count, drain = tf.constant(steps), _drained(endless[1])
        losses = []
        seconds = in_turn(
            2 if quick else epochs,
            **{
                "training": lambda: losses.append(float(take_steps(model, endless[0], count)) / steps),
                "bare matrix products": lambda: bare(count),
                "input alone": lambda: drain(count),
            },
        )
        names = ", ".join(prepared.content)
        setting = {"batch": size, "steps an epoch": steps, "modalities": names, "threads": settings.run.threads}
        figures = compared(steps * size, "examples/s", seconds, "training", setting)
        report(f"{settings.run.name}: whole epochs of {steps} steps of {size}, modalities {names}", figures, json_path)
        print(f"losses of the epochs: {', '.join(f'{loss:.4f}' for loss in losses)}")
        if profile and not quick:
            tf.profiler.experimental.start(folder)
            take_steps(model, endless[0], tf.constant(PROFILED_STEPS))
            tf.profiler.experimental.stop()
            Console().print(_kernels(Path(folder)))


def _drained(batches: Iterator[Any]) -> Callable[[Any], Any]:
    """A function that takes `count` batches and throws them away, in one graph call as training does."""
    import tensorflow as tf

    @tf.function
    def drain(count: tf.Tensor) -> tf.Tensor:
        examples = tf.constant(0)
        for _ in tf.range(count):
            examples += tf.size(next(batches)["query"])
        return examples

    return drain


def _products(model: Any, batches: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any], np.ndarray]]:
    """The matrix products of training steps in order: operation, transpositions, mean shapes int [2, rank]."""
    import tensorflow as tf
    from tensorflow.python.framework import op_callbacks

    taken: list[tuple[str, dict[str, Any], list[Any]]] = []

    def note(kind: Any, inputs: Any, attributes: Any, outputs: Any, name: Any = None, graph: Any = None) -> None:
        del outputs, name, graph
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind in PRODUCTS:
            pairs = zip(attributes[::2], attributes[1::2], strict=True)
            transposed = {key: value for key, value in pairs if key.startswith(("transpose_", "adj_"))}
            taken.append((kind, transposed, [tensor.shape.as_list() for tensor in inputs]))

    weights = [tf.identity(weight) for weight in (*model.variables, *model.optimizer.variables)]
    tf.config.run_functions_eagerly(True)
    op_callbacks.add_op_callback(note)
    for batch in batches:
        model.train_step(batch)
    op_callbacks.remove_op_callback(note)
    tf.config.run_functions_eagerly(False)
    for variable, weight in zip((*model.variables, *model.optimizer.variables), weights, strict=True):
        variable.assign(weight)
    each = len(taken) // len(batches)
    return [
        (taken[k][0], taken[k][1], np.round(np.mean([shape for _, _, shape in taken[k::each]], axis=0)).astype(int))
        for k in range(each)
    ]


def _bare_loop(products: list[tuple[str, dict[str, Any], np.ndarray]]) -> Callable[[Any], Any]:
    """A function that does `count` times the products of a step, on random numbers."""
    import tensorflow as tf

    # Variables, each its own: of constants, or of the same ones, a product would be done once.
    operands = [[tf.Variable(tf.random.normal(shape)) for shape in shapes] for _, _, shapes in products]

    @tf.function
    def steps(count: tf.Tensor) -> tf.Tensor:
        total = tf.zeros([1])
        for _ in tf.range(count):
            results = []
            for (kind, transposed, _), (a, b) in zip(products, operands, strict=True):
                if kind == "MatMul":
                    results.append(tf.raw_ops.MatMul(a=a, b=b, **transposed))
                elif kind == "BatchMatMulV2":
                    results.append(tf.raw_ops.BatchMatMulV2(x=a, y=b, **transposed))
                else:
                    results.append(tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=tf.float32, **transposed))
            # Without a use of its result a product would not be done at all.
            total += tf.add_n([tf.reshape(result, [-1])[:1] for result in results])
        return total

    return steps


def _kernels(folder: Path) -> Table:
    """Milliseconds a step by kind of kernel, from the trace in `folder`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for plane in space.planes:
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name, colon, kind = names[event.metadata_id].rpartition(":")
                # Kernels are called "node:Kind"; "::" and functions are the executor's own.
                if colon and not name.endswith(":") and "inference" not in kind:
                    spent[kind] += event.duration_ps / 1e9 / PROFILED_STEPS
                    calls[kind] += 1
    table = Table("kernel", "ms a step", "share", "calls a step")
    total = sum(spent.values())
    for kind, milliseconds in spent.most_common(16):
        table.add_row(kind, f"{milliseconds:.2f}", f"{milliseconds / total:.0%}", f"{calls[kind] / PROFILED_STEPS:.0f}")
    table.add_row("all kernels", f"{total:.2f}", "100%", f"{sum(calls.values()) / PROFILED_STEPS:.0f}")
    return table


if __name__ == "__main__":
    typer.run(main)
