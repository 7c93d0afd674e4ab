"""Runs every benchmark, each in a process of its own, and writes benchmarks/results.json and one table.

make benchmark            the sizes that docs/performance.md speaks of; the walks alone take ten minutes
make benchmark QUICK=1    small sizes: whether everything runs, and roughly how fast; 4:41 minutes on two free cores

Index, batch job and fresh videos are measured on a release of pipelines/configs/large_world.yaml, which is trained
first unless it is there. A benchmark that fails is named at the end, and the others' figures are kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from figures import Figure, machine, table
from rich.console import Console

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results.json"
SMALL_WORLD = [
    "data.world.users=6000",
    "data.world.items=25000",
    "data.world.clicks=60000",
    "training.max_steps=40",
    "training.evaluate_every=40",
    "exposure.users=200",
]


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder.

    Attributes:
      script: its name without .py.
      of_release: whether it takes the folder of a release.
      of_run: whether it takes the folder of a run before that.
    """

    script: str
    of_release: bool = False
    of_run: bool = False


BENCHMARKS = (
    Benchmark("training_speed"),
    Benchmark("model_speed"),
    Benchmark("input_pipeline"),
    Benchmark("sharded_training"),
    Benchmark("catalogue_cost"),
    Benchmark("prepare_speed"),
    Benchmark("cluster_speed"),
    Benchmark("walk_speed"),
    Benchmark("ranking_speed"),
    Benchmark("distributed_steps"),
    Benchmark("index_speed", of_release=True),
    Benchmark("batch_retrieval", of_release=True, of_run=True),
    Benchmark("fresh_videos", of_release=True),
    Benchmark("service_load", of_release=True),
    Benchmark("spark_batch", of_release=True, of_run=True),
)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run these scripts alone; may be repeated.")] = None,
    results: Annotated[Path, typer.Option(help="File of the results.")] = RESULTS,
) -> None:
    """Run all benchmarks."""
    unknown = set(only or []) - {benchmark.script for benchmark in BENCHMARKS}
    if unknown:
        raise typer.BadParameter(f"no benchmark {min(unknown)}; there are {', '.join(b.script for b in BENCHMARKS)}")
    chosen = [benchmark for benchmark in BENCHMARKS if not only or benchmark.script in only]
    name = "benchmark_quick" if quick else "large_world"
    if any(benchmark.of_release for benchmark in chosen):
        _release(name, quick)
    reports: list[dict[str, Any]] = []
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for number, benchmark in enumerate(chosen, 1):
            print(f"[{number}/{len(chosen)}] {benchmark.script}", flush=True)
            written = Path(folder) / f"{benchmark.script}.json"
            folders = [f"runs/{name}"] * benchmark.of_run + [f"saved_models/{name}"] * benchmark.of_release
            started = time.perf_counter()
            done = _python(HERE / f"{benchmark.script}.py", *folders, "--json", written, *(["--quick"] * quick))
            if done and written.exists():
                seconds = round(time.perf_counter() - started, 1)
                reports.append({"benchmark": benchmark.script, "seconds": seconds, **json.loads(written.read_text())})
            else:
                failed.append(benchmark.script)
            _write(results, {"quick": quick, "machine": machine(), "failed": failed, "reports": reports})
    console = Console(width=140)
    for report in reports:
        console.print(table(report["title"], [Figure(**figure) for figure in report["figures"]]))
    print(f"written: {results}")
    if failed:
        print(f"failed: {', '.join(failed)}; their output is above")
        raise typer.Exit(1)


def _release(name: str, quick: bool) -> None:
    config = ["--config", "pipelines/configs/large_world.yaml", f"run.name={name}", *(SMALL_WORLD if quick else [])]
    if quick:
        config += ["index.kind=tree", "evaluation.bootstrap=0"]
    if (ROOT / "saved_models" / name / "manifest.json").exists():
        return
    for verb in ("train", "release"):
        if not _python(ROOT / "pipelines" / f"{verb}.py", *config):
            print("the release that some benchmarks work on could not be made")
            raise typer.Exit(1)


def _python(script: Path, *arguments: object) -> bool:
    """Runs a script in the root of the repository; whether it went well."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _write(path: Path, tree: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    typer.run(main)
