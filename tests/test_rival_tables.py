"""What `seeds` and `evaluate` compare a model with, what they print of it and what they leave."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from m3csr_tf.config import Config, load
from m3csr_tf.evaluation.report import Evaluation, Slice


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that were evaluated, training and evaluation themselves left out."""
    from m3csr_tf.verbs import seeds

    found: list[Config] = []

    def evaluate(config: Config) -> dict[str, Evaluation]:
        found.append(config)
        values = np.array([0.1, 0.2, 0.4]) + 0.1 * config.run.seed
        part = Evaluation({"all": Slice(np.arange(3), {"recall@20": values, "ndcg@20": values})})
        names = ["M3CSR", *(["ease", "truth"] if config.evaluation.baselines else [])]
        config.run_folder.mkdir(parents=True)
        tree: dict[str, Any] = {"val": {"all": {"recall@20": 0.3}}, "intensity": {"visual": {"mean": 1.0}}}
        tree["baselines"] = {name: {"choice": {"settings": {"penalty": 3}}} for name in names[1:]}
        (config.run_folder / "metrics.json").write_text(json.dumps(tree))
        return dict.fromkeys(names, part)

    monkeypatch.setattr(seeds, "train", lambda config: None)
    monkeypatch.setattr(seeds, "evaluate", evaluate)
    return found


def seeds(folder: Path, *overrides: str) -> None:
    from m3csr_tf.verbs.seeds import seeds as run_seeds

    run_seeds(load(None, ["run.name=small", f"run.folder={folder}", *overrides]), 2)


def test_the_first_seed_is_compared_with_all_tuned_baselines_and_the_others_with_none(
    asked: list[Config], tmp_path: Path
) -> None:
    seeds(tmp_path)
    assert [config.evaluation.baselines for config in asked] == ["tuned", ()]
    assert [config.run.name for config in asked] == ["small-seed0", "small-seed1"]


def test_a_list_of_baselines_is_taken_as_it_is(asked: list[Config], tmp_path: Path) -> None:
    seeds(tmp_path, "evaluation.baselines=[ease]")
    assert asked[0].evaluation.baselines == ("ease",)


def test_the_summary_holds_every_baseline_and_the_settings_chosen_for_it(
    asked: list[Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds(tmp_path)
    tree = json.loads((tmp_path / "small-seeds.json").read_text())
    assert tree["baselines"]["ease"]["choice"]["settings"] == {"penalty": 3}
    assert set(tree["test"]["all"]["recall@20"]["baselines"]) == {"ease", "truth (ceiling)"}
    printed = capsys.readouterr().out
    assert "best baseline" in printed and "truth (ceiling)" in printed


def test_the_table_of_choices_has_a_line_a_baseline_and_words_no_settings_within_settings() -> None:
    from m3csr_tf.baselines.search import ChosenSettings
    from m3csr_tf.verbs.baseline_choices import choices_table, in_words

    weighted = {"weights": {"visual": 2, "textual": 1}, "neighbours": 50}
    settings = {"ials": {"factors": 8}, "modalities": ["visual", "textual"], "penalty": 10**-0.5}
    choices = {
        "content_knn": ChosenSettings(weighted, "pseudo-cold", 0.2, 0.1, 9, 3),
        "ridge_ials": ChosenSettings(settings, "pseudo-cold", None, None, 18, 1234.5),
    }
    console = Console(width=130)
    with console.capture() as capture:
        console.print(choices_table(choices))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capture.get().splitlines() if "│" in line]
    assert lines == [
        ["content_knn", "pseudo-cold", "0.2000", "0.1000", "9", "3"],
        ["ridge_ials", "pseudo-cold", "-", "-", "18", "1,234"],
    ]
    assert in_words(weighted) == "weights visual:2 textual:1, neighbours 50"
    assert in_words(settings) == "modalities visual+textual, penalty 0.316"


def test_a_single_run_is_compared_with_popularity_and_chance_where_nothing_is_said(
    untrained_run: Any, tmp_path: Path
) -> None:
    from m3csr_tf.ranking.full_ranking import Vectors
    from m3csr_tf.verbs.evaluated_systems import systems

    own = Vectors(np.zeros((1, 1)), np.zeros((1, 1)))
    for said, expected in {"": ["popularity", "random"], "evaluation.baselines=[random]": ["random"]}.items():
        config = load(None, [f"run.folder={tmp_path}", *filter(None, [said])])
        trained = dataclasses.replace(untrained_run, config=config)
        found = [name for name, _, _ in systems(trained, own)]
        assert found == ["M3CSR", *expected]
    assert load(None, ["evaluation.baselines=tuned"]).evaluation.baselines == "tuned"
