from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.console import Console

from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.experiments.spread import against_best, best_baseline, by_system, over_seeds, plus_minus, summarise

METRICS = ("recall@20", "ndcg@20")


def evaluation(*recalls: float) -> Evaluation:
    values = np.array(recalls)
    part = Slice(np.arange(len(values)), {"recall@20": values, "ndcg@20": values / 2})
    return Evaluation({"all": part, "cold_only": part})


@pytest.fixture
def summary() -> dict[str, Any]:
    of_seeds = [evaluation(0.2, 0.4, 0.6), evaluation(0.4, 0.4, 0.8)]
    baselines = {
        "ease": evaluation(0.1, 0.3, 0.5),
        "ials": evaluation(0.2, 0.3, 0.4),
        "truth": evaluation(0.9, 0.9, 0.8),
    }
    return summarise(of_seeds, baselines | {"random": evaluation(0.0, 0.0, 0.1)}, METRICS)


def printed(table: Any, width: int = 130) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_best_baseline_is_the_one_of_the_highest_mean_but_for_the_ceiling(summary: dict[str, Any]) -> None:
    assert best_baseline(summary["all"]["recall@20"]) == "truth"
    assert best_baseline(summary["all"]["recall@20"], ["truth"]) == "ease"  # 0.3, as ials: the first of equals.
    assert best_baseline({"baselines": {}}) is None


def test_each_slice_and_metric_shows_the_best_baseline_its_ratio_and_p(summary: dict[str, Any]) -> None:
    shown = printed(against_best(summary, "M3CSR", 2, ["truth"]))
    line = next(line for line in shown.splitlines() if "│ all" in line)
    # Seeds' means are 0.4 and 0.5333: 0.4667 +- 0.0943; the baseline's is 0.3.
    assert "0.4667 +- 0.0943" in line and "ease" in line and "0.3000" in line and "1.56" in line
    assert "truth" not in shown and shown.count("ndcg@20") == 1


def test_a_baseline_that_finds_nothing_has_no_ratio() -> None:
    summary = summarise([evaluation(0.5, 0.6)], {"random": evaluation(0.0, 0.0)}, METRICS)
    line = next(line for line in printed(against_best(summary, "M3CSR", 1)).splitlines() if "│ all" in line)
    assert "random" in line and "inf" not in line


def test_without_baselines_the_model_stands_alone() -> None:
    summary = summarise([evaluation(0.5, 0.6)], {}, METRICS)
    rows = [line for line in printed(against_best(summary, "M3CSR", 1)).splitlines() if "0.5500" in line]
    assert rows and not any("+-" in row for row in rows)  # One seed has no spread, not one of 0.


def test_every_system_has_a_row_and_every_slice_a_column(summary: dict[str, Any]) -> None:
    shown = printed(by_system(summary, "M3CSR"))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    systems = ["M3CSR", "ease", "ials", "truth", "random"]
    assert [line[0] for line in lines] == ["recall@20", *systems, "ndcg@20", *systems]
    assert lines[1][1:] == ["0.4667", "0.4667"] and lines[7][1:] == ["0.2333", "0.2333"]
    assert lines[2][1:] == ["0.3000", "0.3000"] and lines[8][1:] == ["0.1500", "0.1500"]


def test_tables_of_five_baselines_and_six_slices_fit_a_terminal(summary: dict[str, Any]) -> None:
    wide = {name: summary["all"] for name in ("all", "warm", "cold", "few", "tail", "cold_only")}
    for table in (against_best(wide, "M3CSR", 5), by_system(wide, "M3CSR")):
        assert table.__rich_measure__(Console(width=1000), Console(width=1000).options).maximum <= 80


def test_one_seed_says_nothing_of_the_spread_and_two_have_the_sample_standard_deviation() -> None:
    assert over_seeds([0.25]) == {"mean": 0.25, "sd": None, "seeds": [0.25]}
    # Mean 0.5; squared deviations 2 * 0.25^2 = 0.125, over n - 1 = 1.
    assert over_seeds([0.25, 0.75]) == {"mean": 0.5, "sd": pytest.approx(0.125**0.5), "seeds": [0.25, 0.75]}
    assert (plus_minus(0.5, None), plus_minus(0.5, 0.25), plus_minus(None, None)) == ("0.5000", "0.5000 +- 0.2500", "-")
