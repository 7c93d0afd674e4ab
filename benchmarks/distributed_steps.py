"""Training steps a second of one process, of two replicas in one process, and of two workers, on this machine.

python benchmarks/distributed_steps.py [--quick] [--json FILE]

All train the same batches of the built-in world, each replica half of them. Two replicas share the cores that one
process has for itself, so what is measured is what meeting costs, not what more machines would bring.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from figures import Figure, report

from m3csr_tf import config as configuration

STRATEGIES = {
    "one process": ["run.strategy=one_device"],
    "two mirrored replicas": ["run.strategy=mirrored", "run.replicas=2"],
    "two workers": ["run.strategy=multi_worker"],
}
ROUNDS = 5


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A small world and few steps.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="File of the figures.")] = None,
    child: Annotated[Path | None, typer.Option(help="Measure one strategy in this process.", hidden=True)] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.NAME=VALUE]...")] = None,
) -> None:
    """Measure the three."""
    if child is not None:
        child.write_text(json.dumps(_rates(overrides or [], 10 if quick else 50)), encoding="utf-8")
        os._exit(0)  # Without waiting for the other worker.
    world = ["data.world.users=2000", "data.world.items=1000", "data.world.clicks=20000"] if quick else []
    settings = [*world, "split.kind=random", *(overrides or [])]
    figures: list[Figure] = []
    for name, strategy in STRATEGIES.items():
        rates = _measured([*settings, *strategy], quick, workers=2 if name == "two workers" else 1)
        compared_with = figures[0].name if figures else None
        ratios = [mine / its for mine, its in zip(rates, figures[0].values, strict=True)] if figures else []
        figures.append(
            Figure(name, "steps/s", rates, compared_with, ratios, {"cores": os.cpu_count(), "settings": settings})
        )
    report("Training steps of one batch, by what shares it", figures, json_path)


def _measured(settings: list[str], quick: bool, workers: int) -> list[float]:
    """Steps a second of each round, as the chief of `workers` processes sees them."""
    with tempfile.TemporaryDirectory() as folder:
        hosts = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
        processes = []
        for place in range(workers):
            tree = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": place}} if workers > 1 else {}
            command = [sys.executable, __file__, "--child", f"{folder}/{place}.json", *(["--quick"] * quick), *settings]
            environment = os.environ | {"TF_CONFIG": json.dumps(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}
            processes.append(subprocess.Popen([*command, f"run.folder={folder}/{place}"], env=environment))
        if any([process.wait() for process in processes]):
            raise typer.Exit(1)
        return json.loads(Path(folder, "0.json").read_text(encoding="utf-8"))


def _rates(overrides: list[str], steps: int) -> list[float]:
    """Steps a second of each round in this process."""
    import tensorflow as tf

    from m3csr_tf.prepare import prepare
    from m3csr_tf.sampling.training_data import TrainingData
    from m3csr_tf.training import distribution
    from m3csr_tf.training.runs import build_model
    from m3csr_tf.training.steps import make_optimizer, take_steps
    from m3csr_tf.training.streams import ExampleStream

    config = configuration.load(None, overrides)
    replicas = distribution.open_distribution(config.run)
    prepared = prepare(config)
    with replicas.strategy.scope():
        model = build_model(config, prepared)
        model.compile(optimizer=make_optimizer(config.training, model, (ROUNDS + 1) * steps))
    data = TrainingData.of(prepared, config)
    stream = ExampleStream(data, config, model.collator(data, replicas.replicas), replicas.replicas)
    batches = replicas.batches(stream, 0, (ROUNDS + 1) * steps)
    take_steps(model, batches, tf.constant(steps))
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        float(take_steps(model, batches, tf.constant(steps)))
        rates.append(steps / (time.perf_counter() - started))
    return rates


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    typer.run(main)
