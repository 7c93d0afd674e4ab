"""Where a run trains: on one device, on several devices of a machine, or on several machines (`run.strategy`).

Workers meet in collective operations alone. The chief decides and writes everything: it initialises the weights,
validates, stops, and keeps checkpoints. The others take over its weights and decisions, so that only the prepared data
must be the same for all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import tensorflow as tf

from m3csr_tf.config import Config, RunConfig
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.training.runtime import configure
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.util.quoting import quoted

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError, tf.errors.CancelledError)
"""The errors of collective operations when a worker is gone."""


@dataclass(frozen=True)
class Distribution:
    """The replicas that train together.

    Attributes:
      strategy: the strategy in whose scope model and optimizer are made; the default one for a single replica.
      is_chief: whether this process decides and writes.
      workers: number of processes that train together.
    """

    strategy: tf.distribute.Strategy
    is_chief: bool = True
    workers: int = 1

    @property
    def replicas(self) -> int:
        """The number of replicas of all workers."""
        return self.strategy.num_replicas_in_sync

    def check(self, config: Config) -> None:
        """Refuses a batch that the replicas cannot share evenly.

        Raises:
          ConfigError: a size is not a multiple of the number of replicas.
        """
        sizes = {"training.batch_size": config.training.batch_size}
        if config.negatives.kind == "shared":
            sizes["negatives.count"] = config.negatives.count
        for name, size in sizes.items():
            if size % self.replicas:
                raise ConfigError(
                    f"{name}={size} is shared by {self.replicas} replicas (run.strategy={config.run.strategy}): "
                    f"give a multiple of {self.replicas}"
                )

    def batches(self, stream: ExampleStream, first_step: int, steps: int) -> Iterator:
        """Returns this worker's part of the batches of some steps, one element for each step."""
        if self.replicas == 1:
            return iter(stream.dataset(first_step, steps))

        def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = self.replicas // context.num_input_pipelines
            first = context.input_pipeline_id * here
            batches = stream.dataset(first_step, steps, range(first, first + here))
            # Otherwise the workers would ask each other at every step whether the input of any of them has ended.
            return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

        return iter(self.strategy.distribute_datasets_from_function(worker_dataset))

    def agree(self, number: int) -> int:
        """Returns the chief's number; every worker waits here for the others."""
        return number if self.workers == 1 else int(_number_of_chief(self.strategy, tf.constant(number, tf.int64)))

    def share(self, variables: Sequence[tf.Variable]) -> None:
        """Gives variables the values that they have in the chief."""
        if self.workers == 1:
            return
        # The function is made anew for each call, because one that is kept would read the variables of its first call
        # forever.
        values = tf.function(lambda: _of_chief(self.strategy, variables), autograph=False)()
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turns the error of a lost worker into one sentence.

        Raises:
          RunError: a worker is gone.
        """
        try:
            yield
        except _LOST:
            if self.workers == 1:
                raise
            raise RunError(
                f"run.strategy=multi_worker: one of {self.workers} workers is gone or cannot be reached, its own "
                "output says why; start all of them again with the same command, they go on from the last checkpoint"
            ) from None


@tf.function(autograph=False)
def _number_of_chief(strategy: tf.distribute.Strategy, number: tf.Tensor) -> tf.Tensor:
    return _of_chief(strategy, [number])[0]


def _of_chief(strategy: tf.distribute.Strategy, values: Sequence[tf.Tensor | tf.Variable]) -> list[tf.Tensor]:
    def summed() -> list[tf.Tensor]:
        replica = tf.distribute.get_replica_context()
        is_first = replica.replica_id_in_sync_group == 0
        return [
            replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, value, tf.zeros_like(value)))
            for value in values
        ]

    return [strategy.experimental_local_results(value)[0] for value in strategy.run(summed)]


def open_distribution(run: RunConfig) -> Distribution:
    """Returns the replicas that `run.strategy` asks for; every call in a process returns the same ones.

    It calls `runtime.configure` first. With multi_worker it waits until all workers of TF_CONFIG are there.

    Raises:
      ConfigError: there are not as many devices, TensorFlow has started too early to divide them, or TF_CONFIG does not
        say which workers there are.
    """
    configure(run)
    return _opened(run.strategy, run.replicas)


@cache
def _opened(strategy: str, replicas: int | None) -> Distribution:
    if strategy == "one_device":
        return Distribution(tf.distribute.get_strategy())
    if strategy == "mirrored":
        devices = _devices(replicas)
        several = len(devices) > 1
        return Distribution(tf.distribute.MirroredStrategy(devices) if several else tf.distribute.get_strategy())
    workers = _check_cluster()
    if workers == 1:
        return _opened("mirrored", replicas)
    try:
        many = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ConfigError(
            f"run.strategy=multi_worker: TensorFlow had started before the workers could meet ({error}); train in a "
            "process of its own, with pipelines/train.py"
        ) from None
    resolver = many.cluster_resolver
    is_chief = resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )
    return Distribution(many, is_chief, workers)


def _devices(replicas: int | None) -> list[str]:
    """Returns the devices of a machine's replicas: GPUs or, without any, as many parts of the CPU as are asked for."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if replicas is not None and replicas > len(gpus):
            raise ConfigError(f"run.replicas={replicas}: this machine has {len(gpus)} GPUs; give at most so many")
        return [f"GPU:{number}" for number in range(replicas or len(gpus))]
    parts = [tf.config.LogicalDeviceConfiguration()] * (replicas or 1)
    try:
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) < len(parts):
            raise ConfigError(
                f"run.replicas={replicas}: TensorFlow had started before the CPU could be divided; train in a process "
                "of its own, with pipelines/train.py"
            ) from None
    return [f"CPU:{number}" for number in range(len(parts))]


def _check_cluster() -> int:
    """Returns the number of workers that TF_CONFIG names."""
    example = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get("TF_CONFIG", "")
    try:
        tree = json.loads(text)
        jobs, task = tree["cluster"], tree["task"]
        if not jobs[task["type"]][int(task["index"])] or set(jobs) - {"chief", "worker"}:
            raise ValueError
        return sum(len(hosts) for hosts in jobs.values())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ConfigError(
            "run.strategy=multi_worker: the environment variable TF_CONFIG must name all workers and this one's place, "
            f"like {example}, got {quoted(text) if text else 'nothing'}"
        ) from None
