"""Training examples a second of a configuration, over whole epochs, and where a step's time goes.

python benchmarks/training_speed.py --config pipelines/configs/tiktok_paper.yaml data.path=FOLDER run.threads=1

Each epoch's wall clock covers input, model, optimizer and weight averaging, not validation. The first epoch, which
builds the graph, is not counted. The profile sums the kernels' own times by kind.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from m3csr_tf import config as configuration

EPOCHS = 5
PROFILED_STEPS = 20


def main(
    config: Annotated[Path, typer.Option("--config", "-c", help="YAML file of settings.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.NAME=VALUE]...")] = None,
    profile: Annotated[bool, typer.Option(help="Profile some steps as well.")] = True,
) -> None:
    """Measure whole epochs of training."""
    import tensorflow as tf

    from m3csr_tf.prepare import prepare
    from m3csr_tf.training.runs import build_model
    from m3csr_tf.training.runtime import configure
    from m3csr_tf.training.steps import make_optimizer, take_steps
    from m3csr_tf.training.streams import ExampleStream
    from m3csr_tf.training.training_data import TrainingData

    settings = configuration.load(config, overrides or [])
    configure(settings.run)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(settings, Path(folder) / "prepared")
        stream = ExampleStream(TrainingData.of(prepared, settings), settings)
        model = build_model(settings, prepared)
        model.compile(optimizer=make_optimizer(settings.training, model))
        size = settings.training.batch_size
        steps = -(-stream.examples_per_epoch // size)
        batches = iter(stream.dataset(0, (EPOCHS + 1) * steps + PROFILED_STEPS))
        take_steps(model, batches, tf.constant(steps))
        rates = []
        for epoch in range(EPOCHS):
            started = time.perf_counter()
            loss = float(take_steps(model, batches, tf.constant(steps))) / steps
            rates.append(steps * size / (time.perf_counter() - started))
            milliseconds = 1000 * size / rates[-1]
            print(f"epoch {epoch + 2}: {rates[-1]:,.0f} examples/s, {milliseconds:.1f} ms a step, loss {loss:.4f}")
        print(f"median {statistics.median(rates):,.0f} examples/s over {EPOCHS} epochs of {steps} steps of {size}")
        if profile:
            tf.profiler.experimental.start(folder)
            take_steps(model, batches, tf.constant(PROFILED_STEPS))
            tf.profiler.experimental.stop()
            Console().print(_kernels(Path(folder)))


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
    table.add_row("all kernels", f"{total:.2f}", "100%", "")
    return table


if __name__ == "__main__":
    typer.run(main)
