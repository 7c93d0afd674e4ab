"""A final fit through the verbs: trained with --final, judged by the run that chose, released and retrieved from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_logs import Logs

from m3csr_tf.training import run_files

SMALL = {
    "model.kind": "bpr_mf",
    "model.dim": "4",
    "training.batch_size": "8",
    "training.max_steps": "4",
    "training.evaluate_every": "2",
    "training.patience": "4",
    "evaluation.bootstrap": "0",
    "retrieve.top_n": "10",
    "run.release_name": "shorts",
}


PAGE = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
[SECTION] = re.findall(r"^## The final fit\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)


def of_page(place: int) -> list[list[str]]:
    """The commands of a block of the page's section: verb and words, without the configuration and the run's name."""
    block = re.findall(r"```\n(.*?)```", SECTION, re.DOTALL)[place]
    commands = re.findall(r"^python pipelines/(\w+)\.py --config CONFIG(.*)$", block, re.MULTILINE)
    return [[verb, *(word for word in words.split() if not word.startswith("run."))] for verb, words in commands]


def run(logs: Logs, verb: str, *words: str, name: str = "case", seed: int = 0) -> Any:
    """Runs a verb for a run of some name."""
    logs.overrides |= {"run.name": name, "run.seed": str(seed)}
    return logs.run(verb, *words)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Logs on which a run, case, and its final fit were trained, the final fit released, and lists made from it."""
    logs = Logs(tmp_path_factory.mktemp("final"))
    logs.overrides |= SMALL
    commands = of_page(0)
    assert [command[0] for command in commands] == ["train", "release", "retrieve"] and "--final" in commands[0]
    for command in commands:
        result = run(logs, *command)
        assert result.exit_code == 0, result.output
    return logs


def stored(path: Path) -> Any:
    return json.loads(path.read_text())


def manifest(logs: Logs) -> Any:
    return stored(logs.root / "saved_models" / "shorts" / "manifest.json")


def test_the_release_is_the_final_fit_and_says_whose_metrics_hold(nights: Logs) -> None:
    found = manifest(nights)
    assert found["run"] == "case-final" and found["name"] == "shorts"
    assert found["final_fit"]["run"] == "case" and found["final_fit"]["clicks"] == "all"
    listed = run(nights, "release", "list")
    assert "case-final, final fit of case" in listed.output, listed.output
    assert not (nights.root / "runs" / "case-final" / "metrics.json").exists()


def test_lists_hold_nothing_that_was_clicked_in_any_split(nights: Logs) -> None:
    lists = pd.read_parquet(nights.root / "runs" / "case" / "top_n")
    clicked = set(zip(nights.interactions["user_id"], nights.interactions["item_id"], strict=True))
    listed = list(zip(lists["user_id"], lists["item_id"], strict=True))
    assert len(listed) == 12 * 4 and not clicked & set(listed)  # 12 users, who clicked 6 of the 10 items each.


def test_run_all_takes_it_too_and_trains_nothing_twice(nights: Logs) -> None:
    finished = nights.root / "runs" / "case-final" / "finished.json"
    before = finished.read_bytes()
    result = run(nights, "run_all", "--final")
    assert result.exit_code == 0, result.output
    assert finished.read_bytes() == before and "is this run already" in result.output
    assert (nights.root / "runs" / "case" / "report.html").exists()


def test_held_back_clicks_do_not_judge_the_final_fit_itself(nights: Logs) -> None:
    config = nights.root / "runs" / "case-final" / run_files.CONFIG_FILE
    for verb in ("evaluate", "report"):
        result = run(nights, verb, "--config", str(config), name="case-final")
        assert result.exit_code == 2 and "is a final fit" in result.stderr, result.output


def test_a_version_is_compared_and_gated_by_the_runs_that_chose(nights: Logs) -> None:
    later = {"name": "later", "seed": 1}
    assert run(nights, "train", "--final", **later).exit_code == 0
    compared = run(nights, "release", "compare", "run", "--json", **later)
    assert compared.exit_code == 0, compared.output
    found = json.loads(compared.stdout)
    assert (found["first"], found["second"]) == ("version 1", "run later-final")
    notes = " ".join(found["notes"])
    assert "quality is that of run case: its final fit" in notes and "of run later" in notes

    # The figures are those of the two runs that chose, as each evaluates itself on the same 12 test users.
    recalls = []
    for name, seed in (("case", 0), ("later", 1)):
        assert run(nights, "evaluate", name=name, seed=seed).exit_code == 0
        recalls.append(stored(nights.root / "runs" / name / "metrics.json")["test"]["all"]["recall@20"])
    quality = found["quality"]["recall@20"]
    assert [quality["first"], quality["second"]] == pytest.approx(recalls)

    allowed = "release.max_loss=0.99"
    published = run(nights, "release", "publish", allowed, **later)
    assert published.exit_code == 0, published.output
    gate = manifest(nights)["gate"]
    assert [gate["current"], gate["new"]] == pytest.approx(recalls)

    # Without the run that chose, nobody can say how good the current version is.
    kept, away = (nights.root / "runs" / name for name in ("later", "elsewhere"))
    kept.rename(away)
    refused = run(nights, "release", "publish", allowed)
    away.rename(kept)
    assert refused.exit_code == 2 and "could not be compared" in refused.stderr, refused.output


def test_a_version_is_judged_with_the_cold_items_that_it_was_released_with(
    nights: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3csr_tf.config import load
    from m3csr_tf.releases.release import open_release
    from m3csr_tf.training.runs import load_trained
    from m3csr_tf.verbs import compared_runs
    from m3csr_tf.verbs.load_run import run_that_chose

    asked: list[Any] = []
    whole = compared_runs.released

    def released(trained: Any) -> Any:
        asked.append(trained.config.cold)
        return whole(trained)

    monkeypatch.setattr(compared_runs, "released", released)
    config = load(nights.root / "runs" / "case" / run_files.CONFIG_FILE, ["cold.max_views=5"])
    version = open_release(nights.root / "saved_models" / "shorts", 1)
    version.manifest["config"]["cold"] = {"max_views": 3}
    compared_runs.judged_release(version, config)
    assert [cold.max_views for cold in asked] == [3]
    # The new run is judged by the settings that are given now.
    final = load_trained(nights.root / "runs" / "case-final")
    assert run_that_chose(type(final)(config, final.prepared, final.model, final.finished)).config.cold.max_views == 5


def test_a_night_may_start_from_a_final_fit_and_is_told_what_that_has_seen(
    nights: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    result = run(nights, "train", "--warm-start", "case-final", name="next")
    assert result.exit_code == 0, result.output
    assert "12 of 12 validation clicks" in caplog.text and "12 of 12 test clicks" in caplog.text
    assert stored(nights.root / "runs" / "next" / "finished.json")["known_clicks"] == {"val": 12, "test": 12}
    said = "run next started from case-final, which was trained on 12 of the test clicks of next"
    compared = run(nights, "release", "compare", "run", "--json", name="next")
    assert compared.exit_code == 0, compared.output
    assert any(note.startswith(said) for note in json.loads(compared.stdout)["notes"])
    published = run(nights, "release", "publish", "release.max_loss=0.99", name="next")
    assert published.exit_code == 0 and f"note: {said}" in " ".join(published.output.split()), published.output


def test_validation_clicks_in_training_are_judged_on_test(nights: Logs) -> None:
    commands = of_page(1)
    assert [command[0] for command in commands] == ["train", "evaluate"]
    for command in commands:
        result = run(nights, *command, name="study")
        assert result.exit_code == 0, result.output
    found = stored(nights.root / "runs" / "study" / "metrics.json")
    against = found["final_fit"]["against_choice"]["recall@20"]
    assert against["users"] == 12
    assert against["second"] == pytest.approx(found["test"]["all"]["recall@20"])
    assert against["first"] == pytest.approx(found["final_fit"]["test"]["all"]["recall@20"])
    counts = stored(nights.root / "runs" / "study-final" / "prepared" / "manifest.json")["counts"]
    assert counts["train_interactions"] == 12 * 5 and counts["test_interactions"] == 12


def test_a_final_fit_that_is_asked_for_and_missing_is_not_replaced_by_the_choice(nights: Logs) -> None:
    assert run(nights, "train", name="plain").exit_code == 0
    result = run(nights, "release", "publish", "training.final_fit=true", name="plain")
    assert result.exit_code == 2 and "there is no final fit of plain yet" in result.stderr, result.output
