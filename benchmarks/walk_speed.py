"""What goes with an item (`graph.item_graph`), part by part, beside the bare products that each part is made of.

python benchmarks/walk_speed.py            # 200,000 items
python benchmarks/walk_speed.py --quick

A log of seven clicks an item in fifty groups of tastes; content of width 192, which has no pattern. The first walk is
from item to user to item; each further one is a product of rows of 200 items with rows of 200 items. Its reference is
scipy's product of the same blocks by as many threads, without choosing the 200 largest of each row; the reference of
content neighbours is numpy's product of all pairs, in tiles as large by threads with one BLAS thread each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from figures import Figure, compared, in_turn, peak_gib, report
from scipy import sparse

from m3csr_tf.config import ItemGraphConfig
from m3csr_tf.graph import walks
from m3csr_tf.util.threads import cores, each_worker

GROUPS = 50
WIDTH = 192
REFERENCE_ROWS = 256


def main(
    items: Annotated[int, typer.Option(help="Items.")] = 200_000,
    rounds: Annotated[int, typer.Option(help="Rounds after an uncounted one; medians are shown.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="8,000 items.")] = False,
    json: Annotated[Path | None, typer.Option(help="File for the figures.")] = None,
) -> None:
    """Measure walks and content neighbours."""
    items = 8_000 if quick else items
    keep = ItemGraphConfig().neighbours
    clicks = _clicks(items)
    content = np.random.default_rng(0).standard_normal((items, WIDTH), dtype=np.float32)
    first = walks.item_walk(clicks, 1.0, -0.2, keep)
    setting = {"items": items, "clicks": clicks.nnz, "neighbours": keep, "width": WIDTH, "threads": cores()}
    figures = []
    for what, bare, work in (
        ("first walk", None, lambda: walks.item_walk(clicks, 1.0, -0.2, keep)),
        ("walk on", lambda: _products(first, first), lambda: walks.pruned_product(first, first, keep)),
        ("content neighbours", lambda: _all_pairs(content), lambda: walks.content_neighbours(content)),
    ):
        names = {f"{what}, {items:,} items": work}
        reference = f"bare products of {what}"
        if bare is not None:
            names = {reference: bare, **names}
        seconds = in_turn(rounds, **names)
        if bare is None:
            reference = next(iter(seconds))
        figures += compared(items, "items/s", seconds, reference, setting)
    figures.append(Figure("resident at most", "GiB", [peak_gib()], setting=setting))
    report("Walks and neighbours", figures, json)


def _clicks(items: int) -> sparse.csr_matrix:
    random = np.random.default_rng(0)
    users, count = items * 6 // 10, items * 7
    activity, popularity = np.exp(0.9 * random.standard_normal(users)), np.exp(1.2 * random.standard_normal(items))
    group_of = random.integers(0, GROUPS, users)
    user = random.choice(users, count, p=activity / activity.sum())
    item = random.choice(items, count, p=popularity / popularity.sum())
    in_group = random.random(count) < 0.7
    for group, members in enumerate(np.array_split(random.permutation(items), GROUPS)):
        some = in_group & (group_of[user] == group)
        item[some] = random.choice(members, some.sum(), p=popularity[members] / popularity[members].sum())
    clicks = sparse.csr_matrix((np.ones(count, np.float32), (user, item)), (users, items))
    clicks.data[:] = 1
    return clicks


def _products(left: sparse.csr_matrix, right: sparse.csr_matrix) -> None:
    starts = range(0, left.shape[0], REFERENCE_ROWS)

    def work(worker: int) -> None:
        for start in starts[worker :: cores()]:
            left[start : start + REFERENCE_ROWS] @ right

    each_worker(work, cores())


def _all_pairs(content: np.ndarray) -> None:
    starts = range(0, len(content), 256)

    def work(worker: int) -> None:
        for start in starts[worker :: cores()]:
            for column in range(0, len(content), 2048):
                content[start : start + 256] @ content[column : column + 2048].T

    each_worker(work, cores())


if __name__ == "__main__":
    typer.run(main)
