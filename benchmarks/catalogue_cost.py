"""What a training step costs by size of the catalogue and the audience, and by length of the histories.

taskset -c 1 python benchmarks/catalogue_cost.py

Clicks are drawn as arrays, as many items as users; nothing is written. Every user has clicked one item more than her
history holds, the popularity of items falls with their rank so that a batch has the same number of distinct items
whatever the catalogue's size, and each user is an example once an epoch, so that it has as many distinct users, too.
Settings are the paper's otherwise (pipelines/configs/tiktok_paper.yaml), on one thread. The models take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from figures import Figure, in_turn, report
from scipy.sparse import csr_matrix

from m3csr_tf import columns
from m3csr_tf import config as configuration
from m3csr_tf.ids import FIRST_ROW

PAPER = Path(__file__).parents[1] / "pipelines/configs/tiktok_paper.yaml"
CONTENT_WIDTH = 32  # Two modalities of it; of a million items that is a quarter of a GiB.
CLUSTERS = 64
USUAL_HISTORY = 5
COUNTED_BATCHES = 10


@dataclass(frozen=True)
class Case:
    """A model with its stream.

    Attributes:
      take: takes a number of steps.
      items, users: distinct ones a batch, means.
    """

    take: Callable[[], Any]
    items: float
    users: float


def main(
    steps: Annotated[int, typer.Option(help="Steps of a turn.")] = 40,
    rounds: Annotated[int, typer.Option(help="Turns that count.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Up to 100,000 items, histories up to 20.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure steps by size and by length."""
    from m3csr_tf.training.runtime import configure

    configure(_settings(USUAL_HISTORY).run)
    if quick:
        steps, rounds = 10, 3
    figures = []
    sizes = [10_000, 100_000] if quick else [10_000, 100_000, 1_000_000]
    exponents = _exponents(sizes)
    cases = {f"{size:,} items and users": _case(size, USUAL_HISTORY, exponents[size], steps) for size in sizes}
    figures += _measured(cases, steps, rounds)
    del cases
    lengths = [5, 20] if quick else [5, 10, 20, 50, 100]
    cases = {f"histories of {length} slots": _case(10_000, length, 1.0, steps) for length in lengths}
    figures += _measured(cases, steps, rounds)
    report("a training step by size of the catalogue and by length of the histories", figures, json_path)


def _measured(cases: dict[str, Case], steps: int, rounds: int) -> list[Figure]:
    """Milliseconds a step of each case, beside the first."""
    seconds = in_turn(rounds, **{name: case.take for name, case in cases.items()})
    first = next(iter(cases))
    figures = []
    for name, case in cases.items():
        ratios = [mine / its for mine, its in zip(seconds[name], seconds[first], strict=True)] if name != first else []
        found = {"distinct items a batch": round(case.items), "distinct users a batch": round(case.users)}
        print(f"{name}: {case.items:,.0f} distinct items and {case.users:,.0f} distinct users a batch")
        values = [1000 * took / steps for took in seconds[name]]
        figures.append(Figure(name, "ms a step", values, first if ratios else None, ratios, found))
    return figures


def _settings(length: int) -> configuration.Config:
    changes = [
        f"history.length={length}",
        f"history.training_length={length}",
        "training.positives=per_user",
        "run.threads=1",
        "data.format=world",
    ]
    return configuration.load(PAPER, [*changes, "split.kind=random"])


def _drawn(size: int, exponent: float, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Items by rank, falling in popularity: the exponent 1 is uniform."""
    return (size * random.random(shape) ** exponent).astype(np.int32)


def _exponents(sizes: list[int]) -> dict[int, float]:
    """Popularity of each size's items, so that as many examples have as many distinct clicked items as the first's."""
    size_of_batch = _settings(USUAL_HISTORY).training.batch_size

    def distinct(size: int, exponent: float) -> float:
        random = np.random.default_rng(0)
        clicked = [_drawn(size, exponent, (size_of_batch * (USUAL_HISTORY + 1),), random) for _ in range(20)]
        return float(np.mean([len(np.unique([*items, *random.integers(0, size, size_of_batch)])) for items in clicked]))

    found, wanted = {sizes[0]: 1.0}, distinct(sizes[0], 1.0)
    for size in sizes[1:]:
        low, high = 1.0, 50.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if distinct(size, middle) > wanted else (low, middle)
        found[size] = (low + high) / 2
    return found


def _case(size: int, length: int, exponent: float, steps: int) -> Case:
    import tensorflow as tf

    from m3csr_tf.models.m3csr.collation import Collator
    from m3csr_tf.models.m3csr.model import M3CSR
    from m3csr_tf.sampling.training_data import TrainingData
    from m3csr_tf.training.budget import Budget
    from m3csr_tf.training.steps import make_optimizer, take_steps
    from m3csr_tf.training.streams import ExampleStream

    config, random = _settings(length), np.random.default_rng(0)
    rows = size + FIRST_ROW
    # By rank in a random order of rows, so that popular items do not lie side by side.
    slots = (random.permutation(size) + FIRST_ROW)[_drawn(size, exponent, (size, length + 1), random)].astype(np.int32)
    users = np.repeat(np.arange(size) + FIRST_ROW, length + 1)
    clicks = csr_matrix((np.ones(users.size, np.float32), (users, slots.ravel())), shape=(rows, rows))
    clicks.sum_duplicates()
    features = {
        columns.ITEM_ROW: np.arange(rows, dtype=np.int32),
        columns.CLUSTER_IDS: random.integers(1, CLUSTERS + 1, (rows, 2), dtype=np.int32),
        columns.POPULARITY_BIN: random.integers(0, config.popularity.bins, rows, dtype=np.int32),
        **{name: random.standard_normal((rows, CONTENT_WIDTH), np.float32) for name in ("visual", "acoustic")},
    }
    histories = np.zeros((rows, length), np.int32)
    histories[FIRST_ROW:] = slots[:, 1:]
    data = TrainingData(clicks, histories, features, np.asarray(clicks.sum(axis=0)).ravel() > 0, None)
    stream = ExampleStream(data, config, Collator(data, config))
    model = M3CSR(
        config,
        users=rows,
        items=rows,
        clusters={"visual": CLUSTERS, "acoustic": CLUSTERS},
        bins=config.popularity.bins,
        widths=[CONTENT_WIDTH, CONTENT_WIDTH],
    )
    budget = Budget.of(config.training, clicks.nnz)
    model.compile(optimizer=make_optimizer(config.training, model, budget.steps))
    counted = list(stream.dataset(0, COUNTED_BATCHES))
    batches = iter(stream.dataset(COUNTED_BATCHES, 2**40))
    return Case(
        lambda: float(take_steps(model, batches, tf.constant(steps))),
        float(np.mean([len(batch["items"][columns.ITEM_ROW]) for batch in counted])),
        float(np.mean([len(np.unique(batch["query_user"])) for batch in counted])),
    )


if __name__ == "__main__":
    typer.run(main)
