"""Tables at 80 columns: no cell is broken into lines, and a log has more columns than that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from m3csr_tf.baselines.search import ChosenSettings
from m3csr_tf.evaluation import slice_table
from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.experiments import ablations, frontier, spread, suite

SLICES = ("all", "warm", "cold", "few", "tail", "cold_only")
BASELINES = ("popularity", "rp3beta_content", "content_knn", "ridge_ials", "truth (ceiling)")
METRICS = ("recall@20", "ndcg@20")


def evaluation(seed: int, users: int = 50) -> Evaluation:
    random = np.random.default_rng(seed)
    values = {metric: random.random(users) for metric in METRICS}
    intervals = dict.fromkeys(METRICS, (0.1234, 0.2345))
    return Evaluation({name: Slice(np.arange(users), values, intervals, of=1_234_567) for name in SLICES})


def seeds() -> Iterable[Table]:
    from m3csr_tf.verbs.baseline_choices import choices_table

    baselines = {name: evaluation(7 + place) for place, name in enumerate(BASELINES)}
    summary = spread.summarise([evaluation(0), evaluation(1)], baselines)
    yield spread.against_best(summary, "M3CSR", 5, ["truth (ceiling)"])
    yield spread.by_system(summary, "M3CSR")
    yield from (slice_table.table(name, one) for name, one in baselines.items())
    weights = {"weights": {"visual": 2, "textual": 1, "acoustic": 4}, "neighbours": 50}
    yield choices_table({name: ChosenSettings(weights, "pseudo-cold", 0.2, 0.1, 162, 12345.6) for name in BASELINES})


def ablation() -> Iterable[Table]:
    full, ablated = [evaluation(0), evaluation(1)], [evaluation(2), evaluation(3)]
    found = {"figures": ablations.figures(ablated), "contribution": ablations.contributions(full, ablated)}
    for variant in (*ablations.ABLATIONS, *ablations.UNTRAINED):
        yield ablations.table(variant, "val", found)
    yield ablations.table(ablations.FULL, "test", {"figures": ablations.figures(full)})


def of_suite() -> Iterable[Table]:
    baselines = {name: evaluation(7 + place) for place, name in enumerate(BASELINES)}
    finished = {"best_step": 12_345, "steps": 23_456, "recall@20": 0.3, "initial_recall@20": 0.2}
    summary = suite.summarise_member([evaluation(0), evaluation(1)], baselines, "cold_only", [finished] * 3)
    yield suite.table("short_videos_cold", summary | {"split": "val", "slice": "cold_only"})


def of_frontier() -> Iterable[Table]:
    means = dict.fromkeys(("all", "warm", "cold"), 0.1234)
    point = frontier.Point("catalogue", -12.345, 0.5, 0.1234, 0.1234, means, means, 0.1234, 1.2e-10)
    return frontier.tables([point] * 3, "val")


def of_sweep() -> Iterable[Table]:
    results = pytest.importorskip("m3csr_tf.experiments.sweep.results")
    metrics = {"warm": 0.5, "cold": 0.25, "films": 0.125}
    settings = {f"training.setting_{number}": number / 7 for number in range(9)}
    one = SimpleNamespace(trial=12, state="finished", score=0.5, metrics=metrics, settings=settings, problem="")
    yield results.best_table([one] * 3)


def of_index() -> Iterable[Table]:
    from m3csr_tf.index import recall_table

    tried = {"leaves_to_search": 1_000, "reorder": 12.0, "recall": 0.98, "queries_per_second": 12345.6, "speedup": 12.3}
    of_tree = {"kind": "tree", "items": 1_000_000, "leaves": 2_000, "recall_at": 100}
    yield recall_table(of_tree | tried | {"settings_tried": [tried] * 3})


ALL: dict[str, Callable[[], Iterable[Table]]] = {
    "seeds": seeds,
    "ablations": ablation,
    "suite": of_suite,
    "frontier": of_frontier,
    "sweep": of_sweep,
    "release": of_index,
}


@pytest.mark.parametrize("verb", ALL)
def test_no_cell_of_a_table_is_broken_at_80_columns(verb: str) -> None:
    console = Console(width=80, color_system=None)
    for shown in ALL[verb]():
        with console.capture() as capture:
            console.print(shown)
        lines = [line for line in capture.get().splitlines() if line.startswith("│")]
        assert len(lines) == shown.row_count, capture.get()
        assert "…" not in capture.get()


def test_what_is_no_terminal_has_160_columns() -> None:
    script = "from m3csr_tf.cli import app; app(['settings', 'training'])"
    done: Any = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert max(map(len, done.stdout.splitlines())) == 160
