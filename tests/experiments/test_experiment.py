"""The verb `experiment` on a tiny world: its tables, going on after a kill, and failures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import RunError
from m3csr_tf.experiments.comparison.processes import Ended, Processes

TREE: dict[str, Any] = {
    "name": "tiny",
    "seeds": 2,
    "trials": 2,
    "epochs": 8,
    "baselines": ["popularity", "ials"],
    "settings": [
        "data.world={users: 80, items: 60, clicks: 900, modalities: {visual: 4}}",
        "split.kind=random",
        "clusters.count=3",
        "model.dim=8",
        "training.batch_size=64",
        "training.evaluate_every=40",
        "training.max_steps=80",
        "evaluation.top_n=[1, 10, 20]",
    ],
    "models": {
        "mf": {"kind": "bpr_mf", "title": "BPR-MF", "search": {"training.learning_rate": {"values": [0.001, 0.02]}}},
        "no_bias": {
            "kind": "bpr_mf",
            "settings": ["model.item_bias=false"],
            "search": {"training.learning_rate": {"values": [0.001, 0.02]}},
        },
    },
    "data": {
        "world": {
            "splits": {
                "warm": {},
                "cold": {
                    "settings": ["split.cold_share=0.2", "split.cold_validation=0.5"],
                    "chosen_on": "warm",
                    "seeds": 1,
                },
            }
        }
    },
}


class InThisProcess:
    """Runs verbs here, where TensorFlow is already imported; counts them, and fails or stops where it should."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_before: str | None = None
        self.fail: str | None = None

    def __call__(self, processes: Processes, verb: str, config: Path, threads: int, log: Path) -> Ended:
        name = f"{verb} {config.stem}"
        if name == self.stop_before:
            raise KeyboardInterrupt
        if name == self.fail:
            raise RunError("the loss is nan")
        self.ran.append(name)
        done = CliRunner().invoke(app, [verb, "--config", str(config)])
        assert done.exit_code == 0, done.output
        return Ended(1.0, 0.9, 0.25)


def invoke(folder: Path, here: InThisProcess, *arguments: str) -> Any:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TREE, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "run", lambda *given: here(*given))
        command = ["experiment", "--config", str(folder / "tiny.yaml"), "-j", "1", f"run.folder={folder / 'runs'}"]
        return CliRunner().invoke(app, [*command, *arguments])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the experiment has run; runs.json says which verbs."""
    folder = tmp_path_factory.mktemp("experiment")
    here = InThisProcess()
    done = invoke(folder, here)
    assert done.exit_code == 0, done.output
    (folder / "runs.json").write_text(json.dumps(here.ran))
    (folder / "printed.txt").write_text(done.output)
    return folder


def tree(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs" / "tiny" / "results.json").read_text())


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "runs" / "tiny" / "tables" / f"{name}.csv")


def test_every_model_has_as_many_trials_of_the_same_budget(whole: Path) -> None:
    systems = tree(whole)["cells"]["world-warm"]["systems"]
    for name in ("mf", "no_bias"):
        trials = systems[name]["trials"]
        assert len(trials) == 2 and trials[0]["settings"] == {} and trials[1]["settings"]
        # 80 steps of 64 examples would be seven passes over some 720 clicks: within the eight that are allowed.
        assert {round(trial["epochs"], 2) for trial in trials} == {round(trials[0]["epochs"], 2)}
        assert trials[0]["epochs"] <= 8
        best = max(trials, key=lambda trial: trial["recall"])
        assert trials[systems[name]["chosen"]] == best and systems[name]["settings"] == best["settings"]
    chosen = tree(whole)["cells"]["world-cold"]["systems"]["mf"]
    assert chosen["settings"] == systems["mf"]["settings"] and "trials" not in chosen


def test_the_chosen_trial_is_the_run_of_the_first_seed(whole: Path) -> None:
    ran = json.loads((whole / "runs.json").read_text())
    assert ran.count("train world-warm-mf-seed1") == 1 and "train world-warm-mf-seed0" not in ran
    assert ran.count("evaluate world-warm-mf-seed0") == 1
    assert "train world-cold-mf-seed0" in ran  # There, nothing was tried.
    assert not any(name.startswith("evaluate") and "trial" in name for name in ran)  # No trial sees test.


def test_table_2_has_means_spreads_and_paired_tests_over_the_same_users(whole: Path) -> None:
    accuracy = table(whole, "table2_accuracy")
    warm = accuracy[accuracy["cell"] == "world-warm"].set_index("system")
    assert list(warm.index) == ["BPR-MF", "no_bias", "popularity", "ials"]
    of_seeds = tree(whole)["cells"]["world-warm"]["systems"]["mf"]["test"]["all"]["recall@20"]["seeds"]
    assert len(of_seeds) == 2
    assert warm.loc["BPR-MF", "recall@20"] == pytest.approx(np.mean(of_seeds))
    assert warm.loc["BPR-MF", "recall@20_sd"] == pytest.approx(np.std(of_seeds, ddof=1))
    assert np.isnan(warm.loc["BPR-MF", "recall@20_p"])
    difference = warm.loc["BPR-MF", "recall@20"] - warm.loc["ials", "recall@20"]
    assert warm.loc["ials", "recall@20_ours_minus"] == pytest.approx(difference)
    assert 0 <= warm.loc["ials", "recall@20_p"] <= 1
    assert warm.loc["ials", "recall@20_low"] <= difference <= warm.loc["ials", "recall@20_high"]
    best = warm.drop("BPR-MF")["recall@20"].idxmax()
    assert "Recall@20" in warm.loc[best, "best"]


def test_cold_clicks_are_in_validation_and_in_test_and_all_tables_are_there(whole: Path) -> None:
    data = table(whole, "table1_data").set_index("cell")
    assert data.loc["world-cold", "strictly_cold_items"] == 12  # A fifth of 60.
    assert data.loc["world-warm", "strictly_cold_items"] == 0
    cold = tree(whole)["cells"]["world-cold"]["systems"]["ials"]
    assert {"all", "warm", "cold", "cold_only"} <= set(cold["test"]) & set(cold["validation"])
    slices = table(whole, "slices")
    assert slices.loc[slices["cell"] == "world-cold", "cold_only recall@20"].notna().all()
    lists = table(whole, "lists")
    assert {"coverage@20", "novelty@20", "gini@20"} <= set(lists) and lists["gini@20"].between(0, 1).all()
    cost = table(whole, "cost").set_index(["cell", "system"])
    assert cost.loc[("world-warm", "BPR-MF"), "peak_gib"] == 0.25
    assert cost.loc[("world-warm", "BPR-MF"), "training_seconds"] > 0
    assert len(table(whole, "chosen")) == 4
    text = (whole / "runs" / "tiny" / "tables.md").read_text()
    for word in ("Table 1", "Table 2", "Novelty", "| world-warm | BPR-MF |", "How settings were chosen"):
        assert word in text


def test_figures_have_their_data(whole: Path) -> None:
    figures = whole / "runs" / "tiny" / "figures"
    curves = pd.read_csv(figures / "recall_by_length.csv")
    of_model = curves[(curves["cell"] == "world-warm") & (curves["system"] == "BPR-MF")]
    assert of_model["n"].tolist() == [1, 10, 20] and of_model["recall"].is_monotonic_increasing
    found = pd.read_csv(figures / "recall_by_popularity.csv")
    one = found[(found["cell"] == "world-warm") & (found["system"] == "popularity")]
    # Of the held-out clicks of all bins, the share that is found.
    clicks = tree(whole)["cells"]["world-warm"]["data"]["test_interactions"]
    assert one["clicks"].sum() == clicks and one["found"].dropna().between(0, 1).all()
    assert set(pd.read_csv(figures / "training_curves.csv")["seed"]) == {0, 1}
    assert (pd.read_csv(figures / "quality_time.csv").groupby(["cell", "system"])["seconds"].first() == 0).all()


def test_figures_of_the_compared_model_are_there_with_their_numbers_and_what_it_lacks_is_said(whole: Path) -> None:
    folder = whole / "runs" / "tiny"
    figures = {path.name for path in (folder / "figures").iterdir()}
    for cell in ("world-warm", "world-cold"):
        assert {f"{name}-{cell}.{end}" for name in ("projection", "case_study") for end in ("png", "svg")} <= figures
    points = pd.read_csv(folder / "figures" / "projection.csv")
    # The content of the one modality and the ids, of the same items.
    spaces = points[points["cell"] == "world-warm"].groupby("space")["item_id"].apply(list)
    assert spaces["visual"] == spaces["id"] and len(spaces) == 2
    page = (folder / "report.html").read_text()
    assert page.count("Interest intensities: the model has none; Popularity gate: the model has none.") == 2
    assert not figures & {"intensities.csv", "gate_by_popularity.csv"} and "Inside BPR-MF: world-warm" in page


def test_a_case_study_lists_what_the_user_has_never_clicked_and_its_parts_sum_to_the_score(whole: Path) -> None:
    cases = pd.read_csv(whole / "runs" / "tiny" / "figures" / "case_study.csv", dtype={"user_id": str, "item_id": str})
    cases = cases[cases["cell"] == "world-warm"]
    [prepared] = (whole / "runs" / "tiny").glob("world-warm-data-*/prepared")
    found = Prepared.open(prepared)
    for user, case in cases.groupby("user_id"):
        [row] = found.users.rows([user])
        clicks = [found.split(split, np.array([row]))["item_row"] for split in ("train", "val", "test")]
        clicked = set(found.items.ids(np.concatenate(clicks)))
        listed, history = case[case["of"] == "list"], case[case["of"] == "history"]
        assert len(listed) == 10 and not clicked & set(listed["item_id"])
        assert history["item_id"].size and set(history["item_id"]) <= clicked
        assert listed["rank"].tolist() == list(range(1, 11)) and listed["score"].is_monotonic_decreasing
        np.testing.assert_allclose(listed["part_id"] + listed["part_popularity"], listed["score"], rtol=1e-4)
    assert cases["user_id"].nunique() == 3


def numbers(folder: Path) -> dict[str, pd.DataFrame]:
    """All tables but the one of times."""
    names = ["table1_data", "table2_accuracy", "slices", "lists", "chosen"]
    return {name: table(folder, name).drop(columns="seconds", errors="ignore") for name in names}


def test_an_experiment_that_was_stopped_goes_on_and_gives_the_same_tables(whole: Path) -> None:
    expected, place = numbers(whole), whole / "runs" / "tiny"
    # As if it had been killed before these three runs; then it is stopped in the midst of one of them.
    for name in ("world-warm-no_bias-seed1", "world-cold-mf-seed0", "world-cold-no_bias-seed0"):
        shutil.rmtree(place / name)
        (place / "records" / f"{name}.json").unlink()
    (place / "results.json").unlink()
    here = InThisProcess()
    here.stop_before = "evaluate world-cold-mf-seed0"
    stopped = invoke(whole, here)
    assert stopped.exit_code == 130 and "goes on where it stopped" in stopped.output
    assert not (place / "results.json").exists()
    before, here.stop_before = list(here.ran), None
    assert "train world-cold-mf-seed0" in before
    done = invoke(whole, here)
    assert done.exit_code == 0, done.output
    again = [name for name in here.ran[len(before) :] if not name.startswith("prepare")]
    assert sorted(again) == [
        "evaluate world-cold-mf-seed0",
        "evaluate world-cold-no_bias-seed0",
        "train world-cold-no_bias-seed0",
    ]
    for name, found in numbers(whole).items():
        pd.testing.assert_frame_equal(found, expected[name], check_exact=True)


def test_a_run_that_fails_is_told_and_left_out_and_the_exit_code_is_not_0(whole: Path) -> None:
    here = InThisProcess()
    path = whole / "runs" / "tiny" / "records" / "world-cold-no_bias-seed0.json"
    kept = path.read_text()
    path.unlink()
    here.fail = "train world-cold-no_bias-seed0"
    done = invoke(whole, here)
    path.write_text(kept)
    assert done.exit_code == 2
    assert "world-cold-no_bias-seed0 has failed: the loss is nan" in done.output
    assert [name for name in here.ran if not name.startswith("prepare")] == []
    found = tree(whole)
    assert found["failed"] == {"world-cold-no_bias-seed0": "the loss is nan"}
    assert "no_bias" not in found["cells"]["world-cold"]["systems"]
    assert invoke(whole, InThisProcess()).exit_code == 0  # All is well again, and nothing but data is looked at.
    assert tree(whole)["failed"] == {}


def test_the_page_and_the_model_cards_lie_beside_the_tables(whole: Path) -> None:
    folder = whole / "runs" / "tiny"
    assert "<title>" in (folder / "report.html").read_text()
    assert "BPR-MF" in (folder / "world-warm-mf-seed1" / "model_card.md").read_text()
