"""Users a second of the batch job on Spark, two workers of a core each, beside the same job in this process.

python benchmarks/spark_batch.py runs/large_world saved_models/large_world

The first users of a run's prepared data are written to a parquet file, as in batch_retrieval.py, and both jobs make
the same eight parts of their lists, in turns. The local job uses all cores. Starting the session (driver and workers,
all on this machine) and the first job in it, for which each worker loads TensorFlow and opens the release, are told
apart from the rounds. Without pyspark or Java nothing is measured, and the list of figures is empty.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from batch_retrieval import write_users
from figures import Figure, compared, in_turn, report

from m3csr_tf.config import RetrieveConfig, SparkConfig

CLUSTER = SparkConfig(
    master="local-cluster[2,1,1024]",
    conf={"spark.executor.memory": "512m", "spark.driver.memory": "512m", "spark.ui.enabled": "false"},
)
PARTS = 8


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, for its users.")],
    release: Annotated[Path, typer.Argument(help="Folder of its release.")],
    users: Annotated[int, typer.Option(help="Users to make lists for, at most.")] = 100_000,
    top_n: Annotated[int, typer.Option(help="Length of the lists.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="At most 4,000 users, one round.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure the batch job on Spark beside the local one."""
    from m3csr_tf.batch.spark_session import require_spark, session
    from m3csr_tf.errors import EngineError

    try:
        require_spark()
    except EngineError as error:
        print(f"not measured: {error}")
        report("batch job on Spark: not measured", [], json_path)
        return
    from m3csr_tf.batch.retrieval import retrieve
    from m3csr_tf.batch.spark import SparkEngine
    from m3csr_tf.batch.users import FileOfUsers
    from m3csr_tf.releases.release import open_release

    users, rounds = (min(users, 4000), 1) if quick else (users, rounds)
    released = open_release(release)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "users.parquet"
        count = write_users(run, users, file)
        settings = RetrieveConfig(top_n=top_n, shard_users=-(-count // PARTS), overwrite=True)

        def local() -> None:
            retrieve(released, FileOfUsers(file), Path(folder) / "local", settings)

        def on_spark() -> None:
            retrieve(released, FileOfUsers(file), Path(folder) / "spark", settings, engine=SparkEngine(CLUSTER))

        started = time.perf_counter()
        with session(CLUSTER):
            start = time.perf_counter() - started
            first = _seconds(on_spark)
            seconds = in_turn(rounds, **{"local job": local, "two workers": on_spark})
    setting = {"users": count, "items": len(released.index), "top_n": top_n, "parts": PARTS}
    figures = compared(count, "users/s", seconds, "local job", setting)
    figures.append(Figure("start of the session", "s", [start], setting=setting))
    figures.append(Figure("first job in the session", "s", [first], setting=setting))
    report(f"batch job on Spark, {count:,} users, {len(released.index):,} items", figures, json_path)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
