"""Lists a second with and without rules of lists (`retrieve.cap`, `retrieve.near_duplicates`), side by side in one run.

python benchmarks/list_rules.py

Items are random vectors of `LATENT` dimensions under a linear map, with noise. Authors are drawn as in the synthetic
world, the m-th with a share proportional to 1/m, one author for 20 items. The first `--content` entries of a vector
stand for its content; a share of the items are near copies of others, with a content cosine of about 0.995, so there
are near-duplicates. A round makes the lists of all users in batches, without rules, with each rule and with both; every
kind takes its turn first. Seconds are those
of the processor, all threads together, which other programs hardly change.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from figures import Figure, compared, report

from m3csr_tf.config import IndexConfig

LATENT = 32
"""Dimensions in which the vectors mostly lie, as those of trained towers do."""
COPIES = 0.1
"""Share of the items that are near copies of another one."""
BATCH = 4096
AUTHORS_SHARE = 20
"""Items for each author, in the mean."""


def main(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 30_000,
    width: Annotated[int, typer.Option(help="Width of the vectors.")] = 192,
    content: Annotated[int, typer.Option(help="Entries of a vector that are its content.")] = 128,
    users: Annotated[int, typer.Option(help="Users to make lists for.")] = 8192,
    top_n: Annotated[int, typer.Option(help="Length of the lists.")] = 20,
    cap: Annotated[int, typer.Option(help="Items of an author that a list may hold.")] = 2,
    near_duplicates: Annotated[float, typer.Option(help="Content cosine of near-duplicates.")] = 0.98,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 5,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure what the rules of lists cost."""
    from m3csr_tf.batch.filters import Selection
    from m3csr_tf.batch.list_rules import ListRules
    from m3csr_tf.batch.rule_search import lists_by_rules
    from m3csr_tf.batch.search import Candidates, Seen, nearest
    from m3csr_tf.ids import NO_ITEM
    from m3csr_tf.index import build_index

    random = np.random.default_rng(0)
    vectors, queries = _vectors(items, users, width, random)
    index = build_index([f"item {row}" for row in range(items)], vectors, IndexConfig(recall=0.9), queries[:2000])
    contents = vectors[:, :content] / np.linalg.norm(vectors[:, :content], axis=1, keepdims=True)
    shares = 1 / np.arange(1, items // AUTHORS_SHARE + 1)
    authors = {"author": random.choice(len(shares), items, p=shares / shares.sum())}
    kinds = {
        "without rules": None,
        "cap": ListRules({"author": cap}, authors),
        "near-duplicates": ListRules(near_duplicates=near_duplicates, contents=contents),
        "both": ListRules({"author": cap}, authors, near_duplicates, contents),
    }
    nobody = Seen(np.empty(0, np.int64), np.empty(0, np.int64), items)
    candidates = Candidates(index)

    def lists_of(rules: ListRules | None, batch: np.ndarray) -> np.ndarray:
        if rules is None:
            return nearest(candidates, batch, nobody, top_n)[0]
        return lists_by_rules(Selection(candidates), batch, nobody, top_n, rules)[0]

    batches = np.split(queries, range(BATCH, users, BATCH))
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    plain = np.concatenate([lists_of(None, batch) for batch in batches])
    for number in range(rounds):
        order = list(kinds)[number % len(kinds) :] + list(kinds)[: number % len(kinds)]
        for name in order:
            started = time.process_time()
            found = np.concatenate([lists_of(kinds[name], batch) for batch in batches])
            seconds[name].append(time.process_time() - started)
            if not number:
                changed, full = float((found != plain).any(axis=1).mean()), float((found != NO_ITEM).all(axis=1).mean())
                print(f"{name}: {changed:.1%} of the lists differ from those without rules, {full:.1%} are full")
        print("; ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items()), flush=True)
    setting = {"users": users, "items": items, "width": width, "top_n": top_n, "recall": index.report["recall"]}
    figures = compared(users, "lists a core second", seconds, "without rules", setting)
    figures.append(Figure("contents in memory", "MiB", [contents.nbytes / 2**20]))
    report(f"rules of lists, {users:,} users, {items:,} items", figures, json_path)


def _vectors(items: int, users: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors of items and of users, float32 [items, width] and [users, width]."""
    places = random.standard_normal((LATENT, width), np.float32)
    both = random.standard_normal((items + users, LATENT), np.float32) @ places
    both += random.standard_normal(both.shape, np.float32)
    return _with_copies(both[:items], random), both[items:]


def _with_copies(vectors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns vectors of which a share are others with noise of a tenth of their length."""
    copies = random.permutation(len(vectors))[: int(COPIES * len(vectors))]
    originals = random.integers(0, len(vectors), len(copies))
    noise = 0.1 * vectors.std() * random.standard_normal((len(copies), vectors.shape[1]), np.float32)
    copied = vectors.copy()
    copied[copies] = vectors[originals] + noise
    return copied


if __name__ == "__main__":
    typer.run(main)
