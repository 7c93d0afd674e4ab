"""Writes a synthetic log of any size as a large service has it: parquet parts by time, string ids, content vectors.

python benchmarks/large_log.py FOLDER --clicks 106_000_000 --users 5_000_000 --items 1_000_000

The layout is "table" of docs/data.md: interactions.parquet/ (user_id, item_id, timestamp) and catalogue.parquet/
(item_id and a vector a modality). Users like a few topics, a topic's videos differ in popularity, and content vectors
point to the topic, so that there is something to learn. Parts are written one after another: memory does not grow with
the log. An interrupted run goes on at the part it was at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich.progress import track

MODALITIES = ("visual", "acoustic")
LIKED = 3
"""Topics that a user likes."""
STRAY = 0.1
"""Share of the clicks on videos of any topic."""
FALL = 0.8
"""Popularity of a topic's k-th video is k to the power of minus this."""
ITEMS_PER_TOPIC = 2000
SECONDS = 30 * 86_400
"""Length of the log."""


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")],
    clicks: Annotated[int, typer.Option(help="Rows of the log; a few repeat an earlier pair.")] = 10_000_000,
    users: Annotated[int, typer.Option(help="Users.")] = 500_000,
    items: Annotated[int, typer.Option(help="Videos.")] = 100_000,
    width: Annotated[int, typer.Option(help="Width of the content vectors.")] = 32,
    part: Annotated[int, typer.Option(help="Rows of a parquet part.")] = 2_000_000,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
) -> None:
    """Write a synthetic log."""
    write_log(folder, clicks=clicks, users=users, items=items, width=width, part=part, seed=seed)


def write_log(
    folder: Path, *, clicks: int, users: int, items: int, width: int = 32, part: int = 2_000_000, seed: int = 0
) -> None:
    """Writes interactions.parquet/ and catalogue.parquet/ into `folder`; arguments as the command's."""
    random = np.random.default_rng([seed, 0])
    topics = max(1, items // ITEMS_PER_TOPIC)
    topic_of_item = random.permutation(np.arange(items) % topics)
    by_topic = np.argsort(topic_of_item, kind="stable")
    sizes = np.bincount(topic_of_item, minlength=topics)
    first = np.cumsum(sizes) - sizes
    liked = random.integers(0, topics, (users, LIKED), dtype=np.int32)
    activity = np.cumsum(random.lognormal(sigma=0.9, size=users))
    activity /= activity[-1]
    popularity = np.cumsum(np.arange(1, sizes.max() + 1.0) ** -FALL)

    for number in track(range(-(-clicks // part)), "interactions"):
        rows = min(part, clicks - number * part)
        draw = np.random.default_rng([seed, 1, number])
        user = np.searchsorted(activity, draw.random(rows))
        topic = liked[user, draw.integers(0, LIKED, rows)]
        stray = draw.random(rows) < STRAY
        topic[stray] = draw.integers(0, topics, stray.sum())
        place = np.searchsorted(popularity, draw.random(rows) * popularity[sizes[topic] - 1])
        begin = number * part * SECONDS // clicks
        table = pa.table(
            {
                "user_id": _ids("u", user),
                "item_id": _ids("v", by_topic[first[topic] + place]),
                "timestamp": np.sort(draw.integers(begin, begin + rows * SECONDS // clicks + 1, rows)),
            }
        )
        _write(table, folder / "interactions.parquet" / f"part-{number:05d}.parquet")

    centres = {name: random.normal(size=(topics, width)).astype(np.float32) for name in MODALITIES}
    for number in track(range(-(-items // 100_000)), "catalogue"):
        rows = np.arange(number * 100_000, min(items, (number + 1) * 100_000))
        draw = np.random.default_rng([seed, 2, number])
        table = pa.table(
            {
                "item_id": _ids("v", rows),
                **{
                    name: _vectors(centres[name][topic_of_item[rows]] + draw.normal(size=(len(rows), width)))
                    for name in MODALITIES
                },
            }
        )
        _write(table, folder / "catalogue.parquet" / f"part-{number:05d}.parquet")


def _ids(letter: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(letter, pc.cast(pa.array(numbers), pa.string()), "")


def _vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def _write(table: pa.Table, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    pq.write_table(table, temporary)
    temporary.rename(path)


if __name__ == "__main__":
    typer.run(main)
