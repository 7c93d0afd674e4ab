"""The final fit: what a run has chosen on validation, fitted on the clicks that were held back as well."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from easy_world import WORLD

from m3csr_tf import columns
from m3csr_tf.config import Config, SplitConfig, with_settings
from m3csr_tf.data import splits
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.training import fit, runs
from m3csr_tf.training.final_fit import Choice, final_settings
from m3csr_tf.verbs.train import final_fit, train

FINISHED = {
    "best_step": 30,
    "budget": {"steps": 100, "evaluate_every": 10, "batch_size": 4, "clicks": 80},
    "initialisation_settings": {"model.id_initialisation": "ials", "ials.grid": [[5.0, 25.0]]},
}


def choice(best_step: int) -> Choice:
    return Choice("tonight", "digest", "all", {**FINISHED, "best_step": best_step})


def test_steps_and_schedule_grow_with_the_clicks_so_that_epochs_stay() -> None:
    # 120 clicks are 3/2 of 80: 30 steps become 45, and the cosine of 100 steps ends at 150.
    budget = choice(30).budget(120)
    assert (budget.steps, budget.evaluate_every, budget.clicks) == (45, 15, 120)
    assert choice(30).schedule_steps(120) == 150
    assert budget.epochs == pytest.approx(30 * 4 / 80) == pytest.approx(45 * 4 / 120)


@pytest.mark.parametrize(("best", "steps"), [(0, 0), (1, 1)])
def test_a_best_step_of_0_leaves_the_initial_weights_and_one_of_1_a_step(best: int, steps: int) -> None:
    assert choice(best).budget(81).steps == steps


def test_its_settings_are_those_of_the_choice_but_for_clicks_name_and_what_validation_chose() -> None:
    config = with_settings(Config(), {"run.name": "tonight", "training.final_fit": True, "training.epochs": 3.0})
    final = final_settings(config, FINISHED)
    assert final.run.name == "tonight-final" and final.run.release_name == "tonight"
    assert final.split.train_on == "all" and final.training.final_of == "tonight" and not final.training.final_fit
    assert final.m3csr.id_initialisation == "ials" and final.ials.grid == ((5.0, 25.0),)
    changed = {"split": {"train_on"}, "training": {"final_of", "final_fit"}, "run": {"name", "release_name"}}
    changed |= {"model": {"id_initialisation"}, "ials": {"grid"}}
    for section, tree in final.model_dump().items():
        before = config.model_dump()[section]
        assert {key for key in tree if tree[key] != before[key]} == changed.get(section, set())


def test_asking_for_a_final_fit_makes_no_other_run_of_the_choice() -> None:
    plain = Config()
    asked = with_settings(plain, {"training.final_fit": True, "training.final_clicks": "train_val"})
    assert asked.fingerprint() == plain.fingerprint()
    on_more = {"split.train_on": "all", "training.final_of": "other"}
    assert with_settings(plain, on_more).fingerprint() != plain.fingerprint()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"split.train_on": "all"}, "takes its choices from a finished run"),
        ({"training.final_of": "other"}, "do not belong together"),
        ({"training.final_of": "run", "split.train_on": "all"}, "a run of its own"),
        ({"training.final_of": "a", "split.train_on": "all", "training.final_fit": True}, "which is one already"),
        ({"training.final_fit": "perhaps"}, "training.final_fit"),
        ({"training.final_clicks": "test"}, "training.final_clicks"),
        ({"split.train_on": "test"}, "split.train_on"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_message(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        with_settings(Config(), settings)
    assert "\n" not in str(error.value)


def test_a_name_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected at most 94"):
        final_settings(with_settings(Config(), {"run.name": "n" * 95}), FINISHED)


def test_several_workers_are_told_to_train_first() -> None:
    settings = {"run.strategy": "multi_worker", "training.final_fit": True}
    with pytest.raises(ConfigError, match="train without it on all workers"):
        train(with_settings(Config(), settings))


LOG = pd.DataFrame(
    {
        "user_id": ["a", "a", "b", "b", "b", "c"],
        "item_id": ["x", "y", "x", "y", "z", "z"],
        "split": ["train", "val", "train", "test", "val", "test"],
    },
    dtype=object,
)


@pytest.mark.parametrize(
    ("train_on", "labels", "cold"),
    [
        # z is strictly cold: all of its clicks are test's, but for those that cold_validation draws.
        ("train", ["train", "val", "train", "test", "test", "test"], ["z"]),
        ("train_val", ["train", "train", "train", "test", "test", "test"], ["z"]),
        ("all", ["train"] * 6, []),
    ],
)
def test_who_gets_the_clicks(train_on: str, labels: list[str], cold: list[str], tmp_path: Path) -> None:
    (tmp_path / "cold.json").write_text('["z"]')
    config = SplitConfig(kind="given", cold_file=tmp_path / "cold.json", train_on=train_on)  # type: ignore[arg-type]
    labelled, strictly_cold = splits.split(LOG.copy(), np.array(["x", "y", "z"], object), config)
    assert labelled[columns.SPLIT].tolist() == labels and strictly_cold.tolist() == cold


def test_validation_clicks_of_strictly_cold_items_stay_held_back_where_test_judges() -> None:
    strict = np.array([False, True, True, False])
    for names, dtype in (((0, 1, 2), np.int8), (columns.SPLITS, object)):
        first, val, test = names
        labels = np.array([val, val, test, first], dtype)
        splits.give_to_training(labels, strict, "train_val")
        assert labels.tolist() == [first, val, test, first]
        splits.give_to_training(labels, strict, "all")
        assert labels.tolist() == [first] * 4


def test_nothing_plays_cold_in_a_final_fit() -> None:
    config = SplitConfig(kind="given", pseudo_cold_share=0.9, train_on="all")
    labelled, chosen = splits.play_cold(LOG.assign(split="train"), config)
    assert labelled[columns.SPLIT].eq("train").all() and not len(chosen)


SMALL = {"max_steps": 40, "evaluate_every": 10, "patience": 40, "batch_size": 32, "learning_rate": 0.01}


def small(folder: Path, kind: str, **run: Any) -> Config:
    """A run of some kind of model on a world that is easy to learn."""
    tree = {
        "run": {"name": "tonight", "folder": folder / "runs", "release_folder": folder / "saved_models"} | run,
        "data": {"world": WORLD},
        "split": {"kind": "random"},
        "clusters": {"count": 4},
        "history": {"length": 8},
        "model": {"kind": kind, "dim": 8},
        "training": SMALL,
        "evaluation": {"bootstrap": 0},
    }
    return Config.model_validate(tree)


def weights(config: Config) -> dict[str, np.ndarray]:
    """The released weights, but the number by which new items are balanced on the lists of some users."""
    model = runs.load_trained(config.run_folder).model
    return {
        f"{place} {weight.name}": weight.numpy()
        for place, weight in enumerate(model.trainable_variables)
        if weight is not model.popularity_bias
    }


def kinds() -> list[Any]:
    return [pytest.param(kind, id=kind) for kind in ("m3csr", "bpr_mf", "lightgcn")]


@pytest.mark.parametrize("kind", kinds())
def test_on_the_clicks_of_the_choice_it_ends_with_the_weights_of_the_choice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the steps, the schedule, the draws, the averages and the initial weights are those of the recipe."""
    # From ids of implicit ALS, this easy world leaves training nothing to learn.
    start = {"model.id_initialisation": "xavier"} if kind == "m3csr" else {}
    trained = train(with_settings(small(tmp_path, kind), {"training.schedule": "cosine", **start}))
    assert trained.finished["best_step"] > 0
    monkeypatch.setattr(splits, "give_to_training", lambda labels, strictly_cold, train_on: None)
    final = final_fit(trained)
    assert final.finished["steps"] == trained.finished["best_step"]
    before, after = weights(trained.config), weights(final.config)
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run, of which the tests make the final fit."""
    return train(small(tmp_path_factory.mktemp("chosen"), "bpr_mf"))


def test_it_trains_on_all_clicks_and_chooses_nothing(chosen: Any) -> None:
    final = final_fit(chosen)
    counts, before = final.prepared.manifest["counts"], chosen.prepared.manifest["counts"]
    clicks = sum(before[f"{split}_interactions"] for split in columns.SPLITS)
    assert counts["train_interactions"] == clicks and counts["val_interactions"] == counts["test_interactions"] == 0
    assert final.prepared.users.known.tolist() == chosen.prepared.users.known.tolist()
    found = final.finished
    assert found["steps"] == round(chosen.finished["best_step"] * clicks / before["train_interactions"])
    assert found["final_fit"]["run"] == "tonight" and found["recall@20"] == chosen.finished["recall@20"]
    assert found["budget"]["validation_users"] == 0
    # The same again trains nothing; other settings under its name are refused.
    assert final_fit(chosen).finished == found
    with pytest.raises(RunError, match=r"has another configuration \(split.train_on: all -> train_val\)"):
        settings = with_settings(chosen.config, {"training.final_clicks": "train_val"})
        final_fit(type(chosen)(settings, chosen.prepared, chosen.model, chosen.finished))


def test_killed_it_goes_on_and_ends_where_it_would_have_ended(
    chosen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(final_fit(chosen).config)
    elsewhere = tmp_path / "runs"
    shutil.copytree(chosen.config.run.folder, elsewhere)
    shutil.rmtree(elsewhere / "tonight-final")
    moved = with_settings(chosen.config, {"run.folder": str(elsewhere), "training.final_fit": True})
    validate, done = fit._Loop._validate, []

    def killed(self: Any, loss: float) -> None:
        validate(self, loss)
        done.append(loss)
        if len(done) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit._Loop, "_validate", killed)
        train(moved)
    folder = elsewhere / "tonight-final"
    assert not (folder / "finished.json").exists()
    train(moved)
    again = weights(with_settings(moved, {"run.name": "tonight-final", "training.final_fit": False}))
    for name, values in whole.items():
        np.testing.assert_allclose(again[name], values, atol=1e-6, err_msg=name)


def test_the_final_fit_of_an_earlier_training_is_not_taken_for_that_of_this_one(chosen: Any) -> None:
    from m3csr_tf.verbs.load_run import load_released, open_choice

    final = final_fit(chosen)
    path = chosen.config.run_folder / "finished.json"
    kept = path.read_bytes()
    path.write_text(json.dumps(json.loads(kept) | {"training_seconds": 12345.0}))
    try:
        asked = with_settings(chosen.config, {"training.final_fit": True})
        for refused in (lambda: load_released(asked), lambda: final_fit(chosen)):
            with pytest.raises(RunError, match=r"trained anew since|earlier training of tonight"):
                refused()
        with pytest.raises(RunError, match="trained anew since the final fit"):
            open_choice(final.config, final.finished["final_fit"])
    finally:
        path.write_bytes(kept)


def test_a_choice_that_is_missing_or_other_is_refused(chosen: Any) -> None:
    final = final_settings(chosen.config, chosen.finished)
    gone = with_settings(final, {"training.final_of": "gone"})
    with pytest.raises(RunError, match=r"training.final_of=gone: .*no run here"):
        Choice.of(gone)
    with pytest.raises(RunError, match=r"here differ model.dim: 8 -> 16"):
        Choice.of(with_settings(final, {"model.dim": 16}))
    final_fit(chosen)
    of_final = {"training.final_of": "tonight-final", "run.name": "again"}
    with pytest.raises(RunError, match="is a final fit itself"):
        Choice.of(with_settings(final, of_final))


def test_a_model_that_asks_validation_is_told_that_there_is_none(chosen: Any) -> None:
    from m3csr_tf.training.validation import validation_recall_of

    final = final_settings(chosen.config, chosen.finished)
    with pytest.raises(RunError, match=r"Initialised.settings"):
        validation_recall_of(chosen.model, None, chosen.prepared, final)()  # type: ignore[arg-type]
