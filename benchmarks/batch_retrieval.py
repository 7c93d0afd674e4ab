"""Users a second of the batch job beside the bare user tower and the bare index search, and the memory that it takes.

python benchmarks/batch_retrieval.py runs/large_world saved_models/large_world

The first users of a run's prepared data, with their histories and all of their clicks, are written to a parquet file,
which the job reads. A round is a job, then the tower alone (its signature on tensors that are ready), then the search
alone (lists of N, without regard to what was seen), by the same batches. Memory is that of the first job beyond what
the process holds when index, vectors and towers are loaded.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from figures import Figure, compared, report

from m3csr_tf import columns
from m3csr_tf import config as configuration
from m3csr_tf.config import RetrieveConfig


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, for its users.")],
    release: Annotated[Path, typer.Argument(help="Folder of its release.")],
    users: Annotated[int, typer.Option(help="Users to make lists for, at most.")] = 100_000,
    top_n: Annotated[int, typer.Option(help="Length of the lists.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="At most 10,000 users.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure the batch job against its two main parts."""
    import tensorflow as tf

    from m3csr_tf.batch.retrieval import retrieve
    from m3csr_tf.batch.users import FileOfUsers
    from m3csr_tf.releases.release import open_release

    users = min(users, 10_000) if quick else users
    released = open_release(release)
    tower = tf.saved_model.load(str(released.path(columns.USER_TOWER))).signatures[columns.SERVING_DEFAULT]
    settings = RetrieveConfig(top_n=top_n, overwrite=True)
    seconds: dict[str, list[float]] = {"job": [], "bare tower": [], "bare search": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "users.parquet"
        count = write_users(run, users, file)
        _load_all(released)
        beyond = 0
        for number in range(rounds):
            with _peak() as peak:
                took, done = _timed(lambda: retrieve(released, FileOfUsers(file), Path(folder) / "lists", settings))
            seconds["job"].append(took)
            beyond = beyond if number else peak()
            inputs, vectors = _batches(released, file, settings)
            seconds["bare tower"].append(_timed(lambda inputs=inputs: [tower(**batch) for batch in inputs])[0])
            search = [(released.index.search_rows, batch) for batch in vectors]
            seconds["bare search"].append(_timed(lambda calls=search: [call(batch, top_n) for call, batch in calls])[0])
            print("; ".join(f"{name} {times[-1]:.1f} s" for name, times in seconds.items()), flush=True)
            del inputs, vectors, search
            gc.collect()
    together = "bare tower and bare search"
    seconds[together] = [sum(pair) for pair in zip(seconds["bare tower"], seconds["bare search"], strict=True)]
    setting = {"users": count, "items": len(released.index), "top_n": top_n}
    figures = compared(count, "users/s", seconds, together, setting)
    figures.append(Figure("memory of the job beyond index, vectors and towers", "GiB", [beyond / 2**30]))
    report(f"batch job, {count:,} users, {len(released.index):,} items", figures, json_path)
    print(f"{done.rows:,} rows")


def write_users(run: Path, users: int, file: Path) -> int:
    """Writes the first users of a run, their histories and all their clicks to a parquet file; how many they are."""
    from m3csr_tf.batch.users import PreparedUsers
    from m3csr_tf.data.audience import Audience
    from m3csr_tf.data.prepared import Prepared

    config = configuration.load(run / "config.yaml")
    prepared = Prepared.open(run / "prepared")
    source = PreparedUsers(prepared, Audience(prepared, config, columns.SPLITS))
    frame = source.frame(0, min(users, source.count()))
    frame.to_parquet(file, row_group_size=50_000)
    return len(frame)


def _load_all(released) -> None:  # type: ignore[no-untyped-def]
    """Everything that is no memory of the job: index, towers, and all pages of the vectors."""
    users, vectors = released.sample()
    released.user_vectors(users.head(8))
    released.index.search_rows(vectors[:8], 10)
    for start in range(0, len(released.index), 4096):
        released.index.vectors_at(np.arange(start, min(start + 4096, len(released.index))))
    gc.collect()


def _batches(released, file: Path, settings: RetrieveConfig):  # type: ignore[no-untyped-def]
    """The job's batches as tensors for the tower, and as user vectors."""
    import tensorflow as tf

    from m3csr_tf.batch.users import FileOfUsers
    from m3csr_tf.export.requests import user_requests
    from m3csr_tf.export.towers import CONTENT_BYTES, known_items

    known = known_items(released.path(columns.USER_TOWER))
    inputs, vectors = [], []
    users = FileOfUsers(file)
    parts = range(-(-users.count() // settings.shard_users))
    for _, batch in users.read(parts, settings.shard_users, settings.batch_size):
        vectors.append(released.user_vectors(batch))
        length = released.manifest["history_length"]
        for request in user_requests(batch, known, length, batch=settings.batch_size, content_bytes=CONTENT_BYTES):
            inputs.append({name: tf.constant(values, tf.string) for name, values in request.inputs.items()})
    return inputs, vectors


def _timed(work: Callable):  # type: ignore[no-untyped-def,type-arg]
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


@contextmanager
def _peak() -> Iterator[Callable[[], int]]:
    """How much the process's resident memory rises inside the block, in bytes."""
    before = most = _resident()
    stopped = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stopped.wait(0.02):
            most = max(most, _resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: most - before
    finally:
        stopped.set()
        watcher.join()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    typer.run(main)
