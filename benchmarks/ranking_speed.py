"""Full ranking beside the bare product and argpartition that it replaces, and the memory that it takes.

python benchmarks/ranking_speed.py            # a million items, widths 128 and 449
python benchmarks/ranking_speed.py --quick

The reference takes blocks of 256 users, as the ranking does: one product with all items, one argpartition for the best
of each user and one sort of those, blocks shared by as many threads, each with one BLAS thread. It leaves out nothing
that users have seen and settles no tie; the ranking does both. Gaussian vectors; 50 random items a user are seen. Each
ranking runs in a process of its own as well, which says how much memory it takes beyond vectors and what is seen.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from figures import Figure, compared, in_turn, peak_gib, report, resident_gib
from scipy import sparse

from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.util.threads import cores, each_worker

BLOCK = 256
PARTED = 32  # Rows of a block partitioned at once: all of them would take 2 GiB for their places.
SEEN = 50


def main(
    items: Annotated[int, typer.Option(help="Items to rank.")] = 1_000_000,
    users: Annotated[int, typer.Option(help="Users to rank them for.")] = 1024,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are shown.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the items, one width.")] = False,
    json: Annotated[Path | None, typer.Option(help="File for the figures.")] = None,
) -> None:
    """Measure full ranking."""
    widths, lengths = (128, 449), (20, 50)
    if quick:
        items, widths, lengths = items // 10, widths[:1], lengths[1:]
    figures = []
    for width in widths:
        vectors, users_vectors, seen = _problem(items, users, width)
        for n in lengths:
            what = f"top {n} of {items:,} items, width {width}"
            reference = f"product and argpartition, {what}"
            seconds = in_turn(
                rounds,
                **{
                    reference: lambda u=users_vectors, v=vectors, n=n: _reference(u, v, n),
                    f"full ranking, {what}": lambda u=users_vectors, v=vectors, n=n, s=seen: top_n(u, v, n, seen=s),
                },
            )
            setting = {"items": items, "users": users, "width": width, "n": n, "threads": cores()}
            figures += compared(users, "users/s", seconds, reference, setting)
        del vectors
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            beyond = pool.apply(_memory, (items, users, width))
        figures.append(Figure(f"memory of ranking {items:,} items, width {width}", "GiB", [beyond], setting=setting))
    report("Full ranking", figures, json)


def _problem(items: int, users: int, width: int) -> tuple[np.ndarray, np.ndarray, sparse.csr_array]:
    random = np.random.default_rng(0)
    vectors, users_vectors = (random.standard_normal((count, width), dtype=np.float32) for count in (items, users))
    entries = np.repeat(np.arange(users), SEEN), random.integers(0, items, users * SEEN)
    return vectors, users_vectors, sparse.csr_array((np.ones(users * SEEN, np.float32), entries), (users, items))


def _memory(items: int, users: int, width: int) -> float:
    vectors, users_vectors, seen = _problem(items, users, width)
    before = resident_gib()
    top_n(users_vectors, vectors, 50, seen=seen)
    return peak_gib() - before


def _reference(users: np.ndarray, items: np.ndarray, n: int) -> np.ndarray:
    lists = np.empty((len(users), n), np.int64)
    threads = cores()

    def work(worker: int) -> None:
        scores = np.empty((BLOCK, len(items)), np.float32)
        for start in range(worker * BLOCK, len(users), threads * BLOCK):
            some = users[start : start + BLOCK]
            np.matmul(some, items.T, out=scores[: len(some)])
            for first in range(0, len(some), PARTED):
                part = scores[first : min(first + PARTED, len(some))]
                best = np.argpartition(part, len(items) - n, axis=1)[:, len(items) - n :]
                order = np.argsort(-np.take_along_axis(part, best, axis=1), axis=1)
                lists[start + first : start + first + PARTED] = np.take_along_axis(best, order, axis=1)

    each_worker(work, threads)
    return lists


if __name__ == "__main__":
    typer.run(main)
