"""How soon a fresh video is found, and where: raw content vectors into an inbox, until another process finds them.

    python benchmarks/fresh_videos.py saved_models/NAME

A process of `pipelines/refresh.py --follow` takes files from an inbox; this one only follows the journal and searches,
as a server does. It works on a copy of the release (links), so the release itself stays as it is. Each of the single
videos has unseen content for which exact scoring ranks it within the first 10 for some user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from figures import Figure, report
from rich.console import Console

from m3csr_tf import columns
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, Catalogue
from m3csr_tf.releases.inbox import columns_of
from m3csr_tf.releases.recall_gate import recall_now
from m3csr_tf.releases.release import Release, open_release

WITHIN = 10
SEARCHED = 100
SCRIPT = Path(__file__).parents[1] / "pipelines" / "refresh.py"


def fresh_content(release: Release, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Content like the catalogue's that no item has: mixtures of two videos' vectors, absent where either lacks it."""
    ids = release.items.ids
    one, other = (release.items.content(ids[rng.integers(0, len(ids), count)]) for _ in range(2))
    share = rng.uniform(0.2, 0.8, (count, 1)).astype(np.float32)
    return {name: share * one[name] + (1 - share) * other[name] for name in one}


def chosen_videos(
    release: Release, users: np.ndarray, vectors: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[Catalogue, np.ndarray]:
    """Videos that come within WITHIN for some user, those before counted, and the lines of those users."""
    blocks = np.array_split(users, 32)
    best = np.concatenate([-np.sort(-(block @ vectors.T), axis=1)[:, :WITHIN] for block in blocks])
    tries = pd.DataFrame({columns.ITEM_ID: [f"try {line}" for line in range(1024)], columns.VIEW_COUNT: UNKNOWN_VIEWS})
    kept: list[tuple[dict[str, np.ndarray], int]] = []
    while len(kept) < count:
        content = fresh_content(release, 1024, rng)
        scores = users @ release.item_vectors(Catalogue(tries, content)).T
        for line in range(1024):
            within = np.flatnonzero(scores[:, line] > best[:, -1])
            if len(within) and len(kept) < count:
                kept.append(({name: of[line] for name, of in content.items()}, int(rng.choice(within))))
                best = -np.sort(-np.concatenate([best, scores[:, [line]]], axis=1), axis=1)[:, :WITHIN]
    ids = [f"fresh {number}" for number in range(count)]
    frame = pd.DataFrame({columns.ITEM_ID: ids, columns.VIEW_COUNT: UNKNOWN_VIEWS})
    content = {name: np.stack([of[name] for of, _ in kept]) for name in release.modalities}
    return Catalogue(frame, content), np.array([user for _, user in kept])


def put(inbox: Path, name: str, items: Catalogue, release: Release, lines: slice) -> None:
    """Writes a file of items and moves it into the inbox: its arrival."""
    frame = items.frame[lines][[columns.ITEM_ID]].copy()
    for modality, column in columns_of(release).items():
        rows = items.content[modality][lines]
        frame[column] = [None if np.isnan(row).any() else row for row in rows]
    frame.to_parquet(inbox / f"_{name}.parquet")
    (inbox / f"_{name}.parquet").replace(inbox / f"{name}.parquet")


def main(
    folder: Annotated[Path, typer.Argument(help="A release, saved_models/NAME.")],
    videos: Annotated[int, typer.Option(help="Single videos, one after the other.")] = 100,
    bulk: Annotated[int, typer.Option(help="Videos of one file.")] = 1000,
    quick: Annotated[bool, typer.Option("--quick", help="At most 10 single videos.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure how soon fresh videos are found, and whether at their exact rank."""
    videos = min(videos, 10) if quick else videos
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / folder.name, copy_function=os.link))
        inbox = Path(scratch) / "inbox"
        inbox.mkdir()
        release = open_release(copy)
        users, base = release.sample().vectors, release.index.vectors(release.index.ids)
        release.index.search(users[:1], SEARCHED, thorough=True)  # A server has searched before.
        items, owners = chosen_videos(release, users, base, videos, rng)
        follower = subprocess.Popen(
            [sys.executable, SCRIPT, "--follow", inbox, f"run.name={folder.name}", f"run.release_folder={scratch}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert follower.stdout is not None
            for line in follower.stdout:
                if line.startswith("following"):
                    break
            seconds, exact, default, found_at = [], 0, 0, []
            for number, owner in enumerate(owners):
                arrived = time.perf_counter()
                put(inbox, f"{number:06d}", items, release, slice(number, number + 1))
                rank = -1
                while rank < 0:
                    if not release.catch_up():
                        time.sleep(0.005)
                        continue
                    found, _ = release.index.search(users[[owner]], SEARCHED, thorough=True)
                    places = np.flatnonzero(found[0] == f"fresh {number}")
                    rank = int(places[0]) + 1 if len(places) else 0
                seconds.append(time.perf_counter() - arrived)
                came = [f"fresh {before}" for before in range(number + 1)]
                scores = release.index.vectors(came) @ users[owner]
                truth = 1 + int((base @ users[owner] > scores[-1]).sum() + (scores[:-1] > scores[-1]).sum())
                exact += rank == truth
                usual, _ = release.index.search(users[[owner]], SEARCHED)
                default += usual[0].tolist().index(f"fresh {number}") + 1 == truth
                found_at.append((rank, truth))
            ids = [f"bulk {line}" for line in range(bulk)]
            frame = pd.DataFrame({columns.ITEM_ID: ids, columns.VIEW_COUNT: UNKNOWN_VIEWS})
            many = Catalogue(frame, fresh_content(release, bulk, rng))
            arrived, came = time.perf_counter(), 0
            put(inbox, "bulk", many, release, slice(None))
            while came < bulk:
                came += release.catch_up()
                time.sleep(0.005)
            own = release.index.vectors(ids)
            release.index.search(own, SEARCHED)
            bulk_seconds = time.perf_counter() - arrived
        finally:
            follower.terminate()
            follower.wait()
        gate = recall_now(release)
    report(
        f"fresh videos, {len(base):,} items",
        [
            Figure("single video, arrival to found", "s", seconds),
            Figure("found at the rank of exact scoring, thorough search", f"of {videos}", [exact]),
            Figure("found at the rank of exact scoring, usual search", f"of {videos}", [default]),
            Figure("largest exact rank of them", "rank", [max(truth for _, truth in found_at)]),
            Figure(f"{bulk:,} videos in one file, arrival to found", "s", [bulk_seconds]),
            Figure(f"recall@{gate.at} afterwards, at least {gate.required}", "share", [gate.recall]),
        ],
        json_path,
    )
    for rank, truth in found_at:
        if rank != truth:
            Console().print(f"found at rank {rank}, exact rank {truth}")


if __name__ == "__main__":
    typer.run(main)
