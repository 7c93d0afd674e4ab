"""How many requests a second the online service answers, how fast, and what refreshes and new versions change in that.

    python benchmarks/service_load.py saved_models/large_world           # minutes
    python benchmarks/service_load.py saved_models/large_world --quick   # whether it runs

Clients are a process on the same machine, over loopback, one user a request, n = 100. Requests come at a rate, whether
or not earlier ones have been answered (open loop), so that a slow answer delays no other request. Everything is bounded
in count and time, and works on a copy of the release that is removed afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.request import urlopen

import numpy as np
import pandas as pd
import typer
from figures import Figure, report
from load_clients import Load

from m3csr_tf import columns
from m3csr_tf.config import IndexConfig
from m3csr_tf.releases.compaction import compact
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.releases.versions import rollback

SCRIPT = Path(__file__).parents[1] / "pipelines" / "serve.py"
CLIENTS = Path(__file__).with_name("load_clients.py")
LISTED = 100
HISTORY = 20
LIMIT_MS = 50.0
"""p99 that a rate must keep."""
RATES = (25, 50, 100, 150, 200, 300, 400, 600, 800, 1000)
REFRESHED_AT = (50, 100, 150)
REFRESHES = 4
"""How often videos are refreshed at a rate; in the second that it takes come only as many requests as the rate says."""
START_S = 600.0


class Service:
    """`pipelines/serve.py` on a release's folder, on a free port."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, SCRIPT, f"run.name={folder.name}", f"run.release_folder={folder.parent}"]
        self._process = subprocess.Popen(
            [*command, "service.port=0", "service.poll_s=0.1"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = ""
        for line in self._process.stdout:
            if "answers on" in line:
                break
        assert "answers on" in line, "the service did not start"
        self.port = int(line.split("answers on http://")[1].split(";")[0].rsplit(":", 1)[1])
        # Nobody else reads what it says of later versions.
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def ready(self) -> dict[str, int]:
        """The answer of /readyz."""
        with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=60) as answer:
            return json.load(answer)

    def metric(self, name: str) -> float:
        """One metric of the worker that answers."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def workers(self) -> list[int]:
        """Ids of its worker processes."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(one) for one in path.read_text().split()]

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()


@contextmanager
def load_during(port: int, requests: Path, rate: float) -> Iterator[Callable[[], Load]]:
    """Clients that ask while the block runs; yields what ends them and returns what they saw."""
    command = [sys.executable, CLIENTS, port, rate, requests]
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def end() -> Load:
        said, _ = process.communicate(timeout=120)
        return Load(**json.loads(said))

    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n", "the clients did not start"
        yield end
    finally:
        process.kill()
        process.wait()


def steady(port: int, requests: Path, rate: float, seconds: float) -> Load:
    """What clients see at a rate while nothing else happens."""
    with load_during(port, requests, rate) as end:
        time.sleep(seconds)
        return end()


def write_requests(path: Path, release: Release, users: int, rng: np.random.Generator) -> Path:
    """Writes the bodies of requests, one for each of some users, with random histories."""
    with path.open("w", encoding="utf-8") as lines:
        for number in range(users):
            history = rng.choice(release.index.ids, HISTORY, replace=False).tolist()
            lines.write(json.dumps({"users": [{"user_id": f"user {number}", "history": history}], "n": LISTED}) + "\n")
    return path


def bare(
    release: Release, batch: int, rounds: int, rng: np.random.Generator, rate: float | None = None
) -> tuple[list[float], list[float]]:
    """Milliseconds of the user tower's signature, and of the index, called for a batch of users, one a round.

    With a rate, rounds begin at random moments, as requests come to the service: caches and threads are then as cold as
    they are there. Without one, they follow each other.
    """
    towers, searches = [], []
    for number in range(rounds + 5):
        time.sleep(0.0 if rate is None else rng.exponential(1 / rate))
        histories = np.empty([batch, 1 + HISTORY], dtype=object)
        histories[:, 0] = ""
        histories[:, 1:] = rng.choice(release.index.ids, [batch, HISTORY])
        names = np.array([f"user {one}" for one in range(batch)], dtype=object)
        began = time.perf_counter()
        answer = release.ask(
            columns.USER_TOWER, columns.SERVING_DEFAULT, {columns.USER_ID: names, columns.HISTORY: histories}
        )
        between = time.perf_counter()
        release.index.search_rows(answer[columns.USER_VECTOR], LISTED + HISTORY)
        if number >= 5:
            towers.append(1000 * (between - began))
            searches.append(1000 * (time.perf_counter() - between))
    return towers, searches


def wait_for(service: Service, holds: Callable[[], bool], seconds: float = START_S) -> float:
    """Seconds until something holds.

    Raises:
      TimeoutError: it does not.
    """
    began = time.perf_counter()
    while not holds():
        if time.perf_counter() - began > seconds:
            raise TimeoutError("the service does not get there")
        time.sleep(0.05)
    return time.perf_counter() - began


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(
    folder: Annotated[Path, typer.Argument(help="A release, saved_models/NAME.")],
    seconds: Annotated[float, typer.Option(help="Seconds at each rate.")] = 15.0,
    videos: Annotated[int, typer.Option(help="Videos of the refresh.")] = 1000,
    versions: Annotated[int, typer.Option(help="How often another version becomes current under load.")] = 20,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds at three rates, 100 videos, 3 versions.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure the online service under load."""
    rates: tuple[int, ...] = RATES
    if quick:
        rates, seconds, videos, versions = (25, 50, 100), min(seconds, 3.0), min(videos, 100), min(versions, 3)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        locks = shutil.ignore_patterns("*.lock")
        copy = Path(shutil.copytree(folder, Path(scratch) / folder.name, ignore=locks, copy_function=os.link))
        first = open_release(copy).version
        other = compact(copy, IndexConfig(kind=open_release(copy).index.report["kind"])).version
        rollback(copy, first)
        release = open_release(copy)
        asked = write_requests(Path(scratch) / "requests.jsonl", release, 2000, rng)
        rounds = 50 if quick else 300
        paced, hot = bare(release, 1, rounds, rng, rates[0]), bare(release, 1, rounds, rng)
        service = Service(copy)
        try:
            figures = _measured(service, release, asked, rates, seconds, videos, versions, (first, other), rng)
        finally:
            service.stop()
    alone = next(figure for figure in figures if figure.name.startswith("one user a request, p50 at"))
    for how, (towers, searches) in ((f"at {rates[0]} calls/s", paced), ("one after another", hot)):
        sums = [tower + search for tower, search in zip(towers, searches, strict=True)]
        ratio = alone.median / float(np.median(sums))
        figures += [
            Figure(f"bare tower call, one user, {how}", "ms", towers),
            Figure(f"bare search, one user, {how}", "ms", searches),
            Figure(f"p50 of the service at {rates[0]} requests/s", "ms", alone.values, "the sum of both", [ratio]),
        ]
    report(f"online service, {len(release.index):,} items, n = {LISTED}", figures, json_path)


def _measured(
    service: Service,
    release: Release,
    asked: Path,
    rates: tuple[int, ...],
    seconds: float,
    videos: int,
    versions: int,
    both: tuple[int, int],
    rng: np.random.Generator,
) -> list[Figure]:
    steady(service.port, asked, rates[0], 2.0)
    figures, best = [], 0
    for rate in rates:
        load = steady(service.port, asked, rate, seconds)
        figures += _figures(f"one user a request, {{}} at {rate} requests/s", load)
        if load.percentile(99) > LIMIT_MS or load.failures:
            break
        best = rate
    figures.append(Figure(f"requests a second at p99 below {LIMIT_MS:g} ms", "requests/s", [best]))
    figures.append(Figure("users of a search, mean", "users", [_mean_batch(service)]))
    while_refreshed, rate = _refreshed(service, release, asked, REFRESHED_AT[: len(rates) // 2], videos, rng)
    figures += while_refreshed

    resident = []
    with load_during(service.port, asked, rate) as end:
        for number in range(versions):
            version = both[(number + 1) % 2]
            rollback(release.folder, version)
            wait_for(service, lambda version=version: service.ready()["version"] == version)  # type: ignore[misc]
            wait_for(service, lambda: len(service.workers()) == 1)
            time.sleep(1.0)
            resident.append(resident_mib(service.workers()[0]))
        load = end()
    figures += _figures(f"while versions change {versions} times, {{}} at {rate} requests/s", load)
    figures.append(Figure("versions that answered", "versions", [len(load.versions)]))
    at = min(1, len(resident) - 1)
    last = Figure(
        f"memory after the change number {len(resident)}",
        "MiB",
        [resident[-1]],
        f"that after number {at + 1}",
        [resident[-1] / resident[at]],
    )
    return [*figures, last]


def _refreshed(
    service: Service, release: Release, asked: Path, rates: tuple[int, ...], videos: int, rng: np.random.Generator
) -> tuple[list[Figure], int]:
    """Refreshes videos at each rate; returns the figures, and the highest rate that kept its p99.

    The requests that count were sent between the begin of a refresh and the moment at which its videos are listed.
    """
    figures, best, took = [], 0, []
    release.index.prepare_changes()  # As a process that follows an inbox does before its first file.
    for rate in rates:
        load = Load()
        for turn in range(REFRESHES):
            ids = [f"fresh {number} at {rate} in turn {turn}" for number in range(videos)]
            content = {
                name: rng.normal(size=(videos, width)).astype(np.float32) for name, width in release.modalities.items()
            }
            with load_during(service.port, asked, rate) as end:
                began = time.perf_counter()
                refresh(release, pd.DataFrame({columns.ITEM_ID: ids}), content)
                wait_for(service, lambda: service.ready()["position"] == release.position)
                took.append(time.perf_counter() - began)
                load += end()
        figures += _figures(f"during a refresh, {{}} at {rate} requests/s", load)
        if load.percentile(99) <= LIMIT_MS and not load.failures:
            best = rate
    limit = f"requests a second at p99 below {LIMIT_MS:g} ms during a refresh"
    figures += [
        Figure(limit, "requests/s", [best]),
        Figure(f"refresh of {videos:,} videos, from its begin until they are listed", "s", took),
    ]
    return figures, best or rates[0]  # Some load, even where not even the lowest rate was answered in time.


def _mean_batch(service: Service) -> float:
    return service.metric("m3csr_batch_users_sum") / max(1.0, service.metric("m3csr_batch_users_count"))


def _figures(name: str, load: Load) -> list[Figure]:
    answered = {"answered": len(load.milliseconds), "failures": load.failures}
    return [
        *(Figure(name.format(f"p{share}"), "ms", [load.percentile(share)], setting=answered) for share in (50, 99)),
        Figure(name.format("failed"), f"of {load.sent:,}", [sum(load.failures.values())], setting=answered),
    ]


if __name__ == "__main__":
    typer.run(main)
