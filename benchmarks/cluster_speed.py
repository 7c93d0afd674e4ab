"""Cluster ids of ten million videos, streamed from the disk, beside the bare matrix product; and its memory.

python benchmarks/cluster_speed.py            # 10 million x 256, 10 GB of scratch files
python benchmarks/cluster_speed.py --count 1024 --items 2000000
python benchmarks/cluster_speed.py --quick

One pass reads raw vectors from files, scales them (`standard_l2`) and assigns the nearest centre, joint over two
modalities of half the width and per modality. The bare product multiplies as many vectors, which lie in memory already,
by the centres, in the blocks that suit it best, by as many threads with one BLAS thread each, and does nothing else.
Each pass runs in a process of its own, which says how much memory was resident at most; that includes the program's own
0.2 GiB. Whether the system still holds the files in its cache is up to its memory. Seconds of the processor are told
beside those of the clock, since other programs on the machine take turns with this one.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from figures import Figure, compared, peak_gib, report

from m3csr_tf.features.assignment import assign_clusters
from m3csr_tf.features.blocks import blocks
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler, ScaledContent
from m3csr_tf.util.threads import cores, each_worker

WRITTEN = 100_000
IN_MEMORY = 1 << 17  # Taken over and over; more than a processor's cache holds.
BARE_ROWS = 2048  # The fastest of 256 to 65,536, for 64 centres.
ITERATIONS = 5  # Of k-means, whose time is not the point here.
Kind = Literal["joint", "per_modality"]


def main(
    items: Annotated[int, typer.Option(help="Videos.")] = 10_000_000,
    width: Annotated[int, typer.Option(help="Width of a video's vectors, two modalities of a half each.")] = 256,
    count: Annotated[int, typer.Option(help="Centres.")] = 64,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are shown.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="200,000 videos, one round.")] = False,
    scratch: Annotated[Path | None, typer.Option(help="Folder for the scratch files.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for the figures.")] = None,
) -> None:
    """Measure the assignment of clusters."""
    items, rounds = (200_000, 1) if quick else (items, rounds)
    setting = {"items": items, "width": width, "clusters": count, "threads": cores()}
    figures = []
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        _write(Path(folder), items, width // 2)
        for kind in ("joint", "per_modality"):
            what = f"{kind}, {items:,} x {width}, {count} centres"
            fitted, _, peak = _apart(_fit, folder, kind, count)
            figures += [
                Figure(f"fitting scaling and centres, {what}", "s", [fitted], setting=setting),
                Figure(f"resident at most while fitting, {what}", "GiB", [peak], setting=setting),
            ]
            peaks: list[float] = []
            bare, streamed = f"bare product, {what}", f"cluster ids from the disk, {what}"
            wall: dict[str, list[float]] = {bare: [], streamed: []}
            processor: dict[str, list[float]] = {bare: [], streamed: []}
            for _ in range(rounds):
                for name, work, arguments in (
                    (bare, _bare, (items, width // 2, count)),
                    (streamed, _assign, (folder,)),
                ):
                    took, busy, peak = _apart(work, *arguments)
                    wall[name].append(took)
                    processor[name].append(busy)
                peaks.append(peak)
            figures += compared(items, "vectors/s", wall, bare, setting)
            figures += compared(items, "vectors/CPU s", processor, bare, setting)
            figures.append(Figure(f"resident at most while assigning, {what}", "GiB", peaks, setting=setting))
    report("Clusters", figures, json)


def _apart(work, *arguments):  # type: ignore[no-untyped-def]
    """What `work` measures, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


class _Clock:
    """Seconds, seconds of all threads on a core, and the peak memory in GiB."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._processor, peak_gib()


def _write(folder: Path, items: int, width: int) -> None:
    """Vectors around a thousand topics; one in a hundred is missing."""
    random = np.random.default_rng(0)
    topics = random.standard_normal((1000, width), dtype=np.float32)
    for name in ("visual", "acoustic"):
        shape = (items, width)
        vectors = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for block in blocks(items, WRITTEN):
            size = block.stop - block.start
            part = topics[random.integers(0, 1000, size)] + random.standard_normal((size, width), dtype=np.float32)
            part[random.random(size) < 0.01] = np.nan
            vectors[block] = part
        vectors.flush()


def _content(folder: str) -> dict[str, np.ndarray]:
    return {name: np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("visual", "acoustic")}


def _fit(folder: str, kind: Kind, count: int) -> tuple[float, float, float]:
    content = _content(folder)
    rows = np.ones(len(content["visual"]), bool)
    present = dict.fromkeys(content, rows)  # The few that are missing count as zeros.
    clock = _Clock()
    scaler = ContentScaler.fit("standard_l2", content, rows)
    clusters = Clusters.fit(
        kind,
        count,
        {name: ScaledContent(scaler, name, content[name]) for name in content},
        present,
        rows,
        max_iterations=ITERATIONS,
    )
    measured = clock.read()
    scaler.save(Path(folder) / "scaling.npz")
    clusters.save(Path(folder) / "centres.npz")
    return measured


def _assign(folder: str) -> tuple[float, float, float]:
    scaler, clusters = ContentScaler.load(Path(folder) / "scaling.npz"), Clusters.load(Path(folder) / "centres.npz")
    content = _content(folder)
    clock = _Clock()
    assign_clusters(scaler, clusters, content)
    return clock.read()


def _bare(items: int, width: int, count: int) -> tuple[float, float, float]:
    random = np.random.default_rng(0)
    vectors = [random.standard_normal((IN_MEMORY, width), dtype=np.float32) for _ in range(2)]
    centres = [random.standard_normal((count, width), dtype=np.float32) for _ in range(2)]
    threads = cores()

    def work(worker: int) -> None:
        out = np.empty((BARE_ROWS, count), np.float32)
        for block in blocks(items, BARE_ROWS, worker, threads):
            size, start = block.stop - block.start, block.start % IN_MEMORY
            for of_modality, its in zip(vectors, centres, strict=True):
                np.matmul(of_modality[start : start + size], its.T, out=out[:size])

    clock = _Clock()
    each_worker(work, threads)
    return clock.read()


if __name__ == "__main__":
    typer.run(main)
