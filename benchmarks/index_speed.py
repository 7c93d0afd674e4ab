"""Recall and speed of the tree against ScaNN's exact search, both in one run; what it costs to build and to hold.

python benchmarks/index_speed.py saved_models/large_world      the item vectors of a release, its sample of users
python benchmarks/index_speed.py --gaussian 200000             random vectors, the worst case for a tree

The tree is built anew: half of the users choose how widely it is searched and pass its gate, the other half is what the
figures here are of. Exact search and the tree take turns; speeds are medians. "One core" pins all threads to one.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from figures import Figure, compared, report
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

BEST = 10
"""Fresh items are followed into lists where exact scoring ranks them this high."""


class Vectors(NamedTuple):
    """What is searched, and for whom: float32 [items, width] and [users, width]."""

    items: np.ndarray
    users: np.ndarray


def main(
    release: Annotated[Path | None, typer.Argument(help="Folder of a release, saved_models/<name>.")] = None,
    gaussian: Annotated[int | None, typer.Option(help="So many random vectors instead.")] = None,
    width: Annotated[int, typer.Option(help="Width of the random vectors.")] = 448,
    users: Annotated[int, typer.Option(help="Random users, or the most users of a release to take.")] = 2000,
    recall: Annotated[float, typer.Option(help="What the gate asks for, as index.recall.")] = 0.98,
    recall_at: Annotated[int, typer.Option(help="Items wanted, as index.recall_at.")] = 100,
    queries: Annotated[int, typer.Option(help="Users searched for at a time when speed is measured.")] = 512,
    repeats: Annotated[int, typer.Option(min=5, help="Turns of exact search and tree.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer users.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure a tree index."""
    from m3csr_tf.config import IndexConfig
    from m3csr_tf.index import build_index, recall_table
    from m3csr_tf.index.exact_side_index import RECENT

    if (release is None) == (gaussian is None):
        raise typer.BadParameter("give the folder of a release, or --gaussian; one of them")
    users = min(users, 600) if quick else users
    items, people = _random(gaussian, width, users) if gaussian else _of_release(release, users)  # type: ignore[arg-type]
    for_build, held_out = people[::2], people[1::2]
    ids = [f"item {row}" for row in range(len(items))]
    k = min(recall_at, len(items))

    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    tree = build_index(ids, items, IndexConfig(kind="tree", recall=recall, recall_at=recall_at), for_build)
    seconds = time.perf_counter() - started
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    exact = build_index(ids, items, IndexConfig(kind="exact", recall_at=recall_at))
    console = Console()
    console.print(recall_table(tree.report))

    best = exact.search_rows(held_out, k)[0]
    found = tree.search_rows(held_out, k)[0]
    share = np.mean([len(np.intersect1d(mine, theirs)) / k for mine, theirs in zip(found, best, strict=True)])
    setting = {"items": len(items), "width": items.shape[1], "k": k}
    figures = [Figure(f"recall@{k} of the tree", "share", [float(share)], setting=setting)]

    def compare(name: str, cores: int) -> None:
        took = _in_turn(
            repeats,
            lambda: exact.search_rows(held_out[:queries], k),
            lambda: tree.search_rows(held_out[:queries], k),
            cores=cores,
        )
        pieces = {f"exact search, {name}": took[0], f"tree, {name}": took[1]}
        figures.extend(compared(min(queries, len(held_out)), "users/s", pieces, f"exact search, {name}", setting))

    compare("one core", 1)
    compare(f"all {os.cpu_count()} cores", os.cpu_count() or 1)

    millions = len(items) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        tree.save(Path(folder) / "index")
        on_disk = sum(path.stat().st_size for path in (Path(folder) / "index").rglob("*"))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory, load_seconds = pool.apply(_load, (Path(folder) / "index",))
    costs = Table("a million items", "figure", title=f"from {len(items):,} items of width {items.shape[1]}")
    costs.add_row("building the tree", f"{tree.report['build_seconds'] / millions:,.0f} s")
    costs.add_row("with exact search, choice of settings and gate", f"{seconds / millions:,.0f} s")
    costs.add_row("peak memory of that beyond the vectors", _gib(peak / millions))
    costs.add_row("memory when loaded", _gib(memory / millions))
    costs.add_row("of which vectors and codes", _gib(tree.report["bytes_per_item"] * 1e6))
    costs.add_row("loading", f"{load_seconds / millions:.1f} s")
    costs.add_row("on the disk", _gib(on_disk / millions))
    console.print(costs)

    fresh = np.random.default_rng(0).permutation(len(items))[: min(RECENT, len(items) // 2)]
    names = [ids[row] for row in fresh]
    tree.delete(names)
    started = time.perf_counter()
    tree.upsert(names, items[fresh])
    tree.search(held_out[:1], BEST)
    upserted = time.perf_counter() - started
    compare(f"one core, {len(fresh):,} items fresh", 1)
    report(f"index over {len(items):,} items", figures, json_path)
    listed = exact.rows(tree.search(held_out, k)[0].ravel()).reshape(len(held_out), k)
    isfresh = np.isin(best[:, :BEST], fresh)
    right = int((listed[:, :BEST] == best[:, :BEST])[isfresh].sum())
    console.print(
        f"{len(fresh):,} items deleted, upserted in {upserted:.2f} s until searched; of {isfresh.sum():,} that exact "
        f"scoring ranks among some user's {BEST} best, {right:,} are at that rank; recall {tree.measure(held_out):.4f}"
    )


def _of_release(folder: Path, users: int) -> Vectors:
    from m3csr_tf.releases.release import open_release

    release = open_release(folder)
    return Vectors(release.index.vectors_at(np.arange(len(release.index))), release.sample().vectors[:users])


def _random(items: int, width: int, users: int) -> Vectors:
    rng = np.random.default_rng(0)
    return Vectors(*(rng.standard_normal((count, width), np.float32) for count in (items, users)))


def _in_turn(repeats: int, *calls: Callable[[], object], cores: int) -> list[list[float]]:
    """Seconds of each call, which take turns; the threads keep to `cores` cores, and BLAS has as many."""
    allowed = sorted(os.sched_getaffinity(0))
    _pin(allowed[-cores:])
    seconds: list[list[float]] = [[] for _ in calls]
    with threadpool_limits(cores):
        for turn in range(repeats + 1):  # The first does not count.
            for took, call in zip(seconds, calls, strict=True):
                started = time.perf_counter()
                call()
                if turn:
                    took.append(time.perf_counter() - started)
    _pin(allowed)
    return seconds


def _pin(cores: list[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def _load(folder: Path) -> tuple[int, float]:
    """Memory that a process takes for a saved index, in bytes, and seconds to load it."""
    from m3csr_tf.index import load_index

    before, started = _resident(), time.perf_counter()
    index = load_index(folder)
    seconds = time.perf_counter() - started
    index.search(np.ones([1, index.width], np.float32), BEST)
    return _resident() - before, seconds


def _resident() -> int:
    pages = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return 1024 * int(pages[1]) if pages else 0


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


if __name__ == "__main__":
    typer.run(main)
