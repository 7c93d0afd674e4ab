"""A sweep: what its space may say, that it judges on validation alone, and that it goes on after a kill."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from end_to_end import REPOSITORY
from rich.console import Console
from small_logs import Logs

from m3csr_tf.config import Config, load
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, InputError, RunError
from m3csr_tf.experiments.sweep import results, study, trial
from m3csr_tf.experiments.sweep.space import SearchedValues, SearchSpace, load_space, number_of
from m3csr_tf.ids import FIRST_ROW

SPACES = sorted((REPOSITORY / "pipelines" / "configs" / "sweeps").glob("*.yaml"))
QUIET = Console(quiet=True)
PSEUDO_COLD = "split.pseudo_cold_share=0.3"
SPACE: dict[str, Any] = {
    "name": "tiny",
    "tasks": {
        "warm": {"metric": "warm/ndcg@20", "weight": 2, "reference": 0.5},
        "cold": {"metric": "cold_only/ndcg@20", "overrides": [PSEUDO_COLD]},
    },
    "settings": {
        "training.learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True},
        "model.dim": {"values": [4, 8]},
    },
}
COLD_ALONE = {"cold": SPACE["tasks"]["cold"]}


def changed(tree: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**tree, **parts}


@pytest.fixture
def base(tmp_path: Path) -> Config:
    """A world of a few users, and a training of four steps."""
    return Config.model_validate(
        {
            "run": {"folder": tmp_path / "runs"},
            "data": {"world": {"users": 60, "items": 80, "clicks": 900, "modalities": {"visual": 4}}},
            "split": {"kind": "random"},
            "clusters": {"count": 3},
            "history": {"length": 4},
            "model": {"dim": 8},
            "negatives": {"count": 8},
            "training": {"batch_size": 32, "max_steps": 4, "evaluate_every": 4},
        }
    )


def write(folder: Path, tree: Any = SPACE) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def search(base: Config, trials: int, **parts: Any) -> list[study.TrialOutcome]:
    return study.outcomes(study.search(base, SearchSpace.model_validate(changed(SPACE, **parts)), trials, QUIET))


@pytest.mark.parametrize("path", SPACES, ids=[path.stem for path in SPACES])
def test_every_space_of_the_pipelines_fits_its_configuration_and_holds_its_settings(path: Path) -> None:
    base = load(REPOSITORY / "pipelines" / "configs" / path.name)
    space = load_space(path, base)
    for name, setting in space.settings.items():
        section, _, own = name.partition(".")
        value = getattr(getattr(base, section), own)
        assert value is None or setting.holds(value), name  # None follows from the data.


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("training.max_steps", int),  # None by default: the annotation tells.
        ("training.epochs", float),
        ("training.batch_size", int),
        ("training.beta", float),
        ("training.loss", None),
        ("training.warm_start", None),
    ],
)
def test_what_kind_of_number_a_setting_is_does_not_hang_on_its_being_set(name: str, number: type | None) -> None:
    assert number_of(load(None), name) is number


def test_what_follows_from_the_data_lies_in_no_range() -> None:
    assert not SearchedValues(low=200, high=800, step=100).holds(None)
    assert SearchedValues(low=200, high=800, step=100).holds(400)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"trials": 3}, "unknown entry trials"),
        ({"name": "a/b"}, "name: expected a name of at most 100 letters"),
        ({"tasks": {}}, "tasks: Dictionary should have at least 1 item"),
        ({"tasks": {"w": {"metric": "all/recall@7"}}}, r"tasks\.w\.metric: no metric 'all/recall@7'; expected one of"),
        (
            {"tasks": {"w": {"metric": "all/recall@20", "overrides": ["split.colds=1"]}}},
            r"unknown setting split\.colds",
        ),
        (
            {"tasks": {"w": {"metric": "all/recall@20", "overrides": ["model.dim=4"]}}},
            r"model\.dim is searched, so no task can fix it",
        ),
        ({"tasks": {"w": {"metric": "all/recall@20", "overrides": ["run.name=x"]}}}, "run.name is the sweep's own"),
        ({"settings": {"model.dims": {"values": [4]}}}, r"unknown setting model\.dims"),
        ({"settings": {"model": {"values": [4]}}}, r"settings\.model: has no single value"),
        ({"settings": {"split.ratios": {"values": [1]}}}, r"settings\.split\.ratios: cannot be searched"),
        ({"settings": {"split.seed": {"low": 0, "high": 9}}}, r"settings\.split\.seed: cannot be searched"),
        ({"settings": {"run.seed": {"low": 0, "high": 9}}}, r"settings\.run\.seed: cannot be searched"),
        ({"settings": {"model.dim": {"low": 4, "high": 8.5}}}, r"settings\.model\.dim: is a whole number"),
        ({"settings": {"model.gate": {"low": 0, "high": 1}}}, r"settings\.model\.gate: is no number"),
        ({"settings": {"training.beta": {"values": ["few"]}}}, "is a number, got 'few'"),
        ({"settings": {"model.dim": {"values": [4], "low": 4}}}, "give values, or low and high, not both"),
        ({"settings": {"model.dim": {"values": [4, 4]}}}, "values are listed twice"),
        ({"settings": {"model.dim": {"low": 4}}}, r"give values: \[...\], or low and high"),
        ({"settings": {"model.dim": {"low": 8, "high": 4}}}, "low must be below high, got 8 and 4"),
        ({"settings": {"training.beta": {"low": 0, "high": 1, "log": True}}}, "log needs a low above 0"),
        ({"settings": {"model.dim": {"low": 4, "high": 9, "step": 2}}}, "high must be a whole number of steps above"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(
    parts: dict[str, Any], message: str, base: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_space(write(tmp_path, changed(SPACE, **parts)), base)
    assert str(caught.value).startswith(f"{tmp_path / 'space.yaml'}: ")


@pytest.mark.parametrize(
    ("text", "message"), [("[1", "not valid YAML"), ("7", "expected a mapping with name, tasks and settings, got int")]
)
def test_a_file_that_is_no_space_is_refused(text: str, message: str, base: Config, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_space(tmp_path / "space.yaml", base)


def test_a_missing_space_is_one_message_and_exit_code_two(tmp_path: Path) -> None:
    done = Logs(tmp_path).run("sweep", "--space", str(tmp_path / "none.yaml"))
    assert done.exit_code == 2
    assert "none.yaml: cannot read the space (No such file or directory); check --space" in done.stderr


def test_a_setting_holds_its_listed_values_or_its_range_and_steps() -> None:
    assert SearchedValues(values=("svd", 4, True)).holds("svd") and not SearchedValues(values=("svd",)).holds("xavier")
    stepped = SearchedValues(low=0.1, high=0.7, step=0.2)
    assert [stepped.holds(value) for value in (0.1, 0.3, 0.5, 0.7, 0.4, 0.9, -0.1)] == [True] * 4 + [False] * 3
    assert SearchedValues(low=1, high=2).holds(1.5)


@dataclass(frozen=True)
class Swept:
    """A sweep of one trial that was really trained, and the logs it was trained on."""

    logs: Logs
    space: Path
    printed: str

    @property
    def folder(self) -> Path:
        return self.logs.root / "runs" / "tiny"

    def trials(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / results.TRIALS_FILE)


@pytest.fixture(scope="module")
def make_sweep(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Swept]:
    """`make_sweep(spoil)` sweeps small logs from the command line, changed by `spoil` before."""

    def make(spoil: Callable[[pd.DataFrame], None] = lambda _: None) -> Swept:
        logs = Logs(tmp_path_factory.mktemp("sweep"))
        spoil(logs.interactions)
        logs.overrides |= {"training.max_steps": "4", "training.evaluate_every": "4", "training.batch_size": "8"}
        # One modality: a graph that is built sooner.
        logs.overrides |= {"negatives.count": "4", "model.dim": "4", "data.modalities": "{visual: clip}"}
        space = write(logs.root, changed(SPACE, tasks=COLD_ALONE, settings={"model.dim": {"values": [4, 8]}}))
        done = logs.run("sweep", "--space", str(space), "--trials", "1")
        assert done.exit_code == 0, done.output
        return Swept(logs, space, done.output)

    return make


@pytest.fixture(scope="module")
def swept(make_sweep: Callable[..., Swept]) -> Swept:
    return make_sweep()


def test_a_sweep_leaves_its_trials_plots_and_settings_but_no_weights(swept: Swept) -> None:
    (trial,) = swept.trials().to_dict("records")
    assert trial["state"] == "finished" and trial["model.dim"] == 4 and 0 < trial["cold"] == trial["score"] <= 1
    assert "best settings: model.dim=4" in swept.printed
    assert (swept.folder / "setting-model.dim.png").exists()
    kept = {path.name for path in (swept.folder / "trial-0-cold").iterdir()}
    assert kept == {"config.yaml", "versions.json", "logs", "finished.json", "metrics.json"}
    assert load(swept.folder / "trial-0-cold" / "config.yaml").split.pseudo_cold_share == 0.3


def test_a_trials_metrics_are_of_validation_alone_and_cold_only_of_the_pseudo_cold_items(swept: Swept) -> None:
    metrics = json.loads((swept.folder / "trial-0-cold" / "metrics.json").read_text())
    assert set(metrics) == {"val", "training"}
    prepared = Prepared.open(swept.folder / "prepared-cold")
    val = prepared.split("val")
    pseudo_cold = np.flatnonzero(prepared.catalogue["is_pseudo_cold"]) + FIRST_ROW
    assert len(pseudo_cold) == prepared.manifest["counts"]["pseudo_cold_items"] == 3  # Three tenths of ten items.
    assert not prepared.train_clicks[pseudo_cold].any()
    judged = val.loc[val["item_row"].isin(pseudo_cold), "user_row"].nunique()
    assert metrics["val"]["cold_only"]["users"] == judged > 0


def test_the_test_split_cannot_influence_a_sweep(swept: Swept, make_sweep: Callable[..., Swept]) -> None:
    def shuffle_test(interactions: pd.DataFrame) -> None:
        """Every user's test click goes to the next item, which she has not clicked; users and items stay the same."""
        test = interactions["split"] == "test"
        items = interactions.loc[test, "item_id"].str[1:].astype(int)
        interactions.loc[test, "item_id"] = "i" + ((items + 1) % 10).astype(str)

    shuffled = make_sweep(shuffle_test)
    tests = [Prepared.open(one.folder / "prepared-cold").split("test") for one in (swept, shuffled)]
    assert len(tests[0]) == len(tests[1]) == 12 and not tests[0].equals(tests[1])
    pd.testing.assert_frame_equal(swept.trials(), shuffled.trials())
    of = [json.loads((one.folder / "trial-0-cold" / "metrics.json").read_text())["val"] for one in (swept, shuffled)]
    assert of[0] == of[1]


def test_a_run_that_was_judged_before_is_not_trained_again(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    before = swept.trials()
    for name in (study.STUDY_FILE, results.TRIALS_FILE):
        (swept.folder / name).unlink()
    monkeypatch.setattr(trial, "fit", lambda *_: pytest.fail("trained again"))
    done = swept.logs.run("sweep", "--space", str(swept.space), "--trials", "1")
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(swept.trials(), before)


def test_a_study_of_other_data_is_refused(swept: Swept) -> None:
    path = swept.logs.folder / "interactions.parquet"
    logs = pd.read_parquet(path)
    logs.assign(weight=2.0).to_parquet(path)
    try:
        done = swept.logs.run("sweep", "--space", str(swept.space), "--trials", "2")
    finally:
        logs.to_parquet(path)
    assert done.exit_code == 2 and "this sweep was begun with another data" in done.stderr


@pytest.fixture
def by_rate(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Trials evaluated by their learning rate, untrained; gives the configurations that were evaluated."""
    evaluated: list[Config] = []

    def fake(config: Config, *_: Any) -> float:
        evaluated.append(config)
        return config.training.learning_rate

    monkeypatch.setattr(study, "evaluate_trial", fake)
    return evaluated


def test_a_score_is_the_weighted_sum_over_tasks_and_the_first_trial_is_the_base(
    base: Config, by_rate: list[Config]
) -> None:
    first, second = search(base, 2)
    assert first.settings == {"training.learning_rate": 0.003, "model.dim": 8} != second.settings
    assert first.metrics == {"warm": 0.003, "cold": 0.003}
    assert first.score == pytest.approx(0.003 * 2 / 0.5 + 0.003)
    assert [config.run.name for config in by_rate] == ["trial-0-warm", "trial-0-cold", "trial-1-warm", "trial-1-cold"]
    assert [config.split.pseudo_cold_share for config in by_rate] == [0, 0.3, 0, 0.3]
    assert by_rate[2].training.learning_rate == second.settings["training.learning_rate"]


def test_a_base_outside_the_space_is_no_trial(base: Config, by_rate: list[Config]) -> None:
    (only,) = search(base, 1, settings={"model.dim": {"values": [4, 6]}})
    assert only.settings["model.dim"] in (4, 6)


def test_the_same_command_goes_on_to_more_trials_and_draws_what_one_sitting_would_have(
    base: Config, by_rate: list[Config]
) -> None:
    search(base, 4)
    in_two = search(base, 12)  # Past the first ten, which are drawn without looking at scores.
    assert search(base, 9) == in_two and len(in_two) == 12  # Enough already: nothing is tried.
    elsewhere = base.model_copy(update={"run": base.run.model_copy(update={"folder": base.run.folder / "again"})})
    assert search(elsewhere, 12) == in_two
    assert len({str(one.settings) for one in in_two}) == 12


class Killed(BaseException):
    """Ends a sweep as SIGKILL does: nothing of the sweep catches it, and the study is left as it lies."""


@pytest.mark.parametrize("place", [0, 1])
def test_a_sweep_that_was_killed_takes_the_same_trial_up_again(
    place: int, base: Config, by_rate: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(config: Config, *_: Any) -> float:
        if config.run.name == f"trial-{place}-cold":
            by_rate.append(config)
            raise Killed
        return config.training.learning_rate

    with monkeypatch.context() as patch:
        patch.setattr(study, "evaluate_trial", kill)
        for _ in range(2):
            with pytest.raises(Killed):
                search(base, 3)
    found = search(base, 3)
    assert [one.trial for one in found] == [0, 1, 2] and {one.state for one in found} == {study.FINISHED}
    again = [config for config in by_rate if config.run.name == f"trial-{place}-cold"]
    assert len(again) == 3 and again[0] == again[1] == again[2]
    elsewhere = base.model_copy(update={"run": base.run.model_copy(update={"folder": base.run.folder / "whole"})})
    assert search(elsewhere, 3) == found


def test_a_second_process_is_kept_out(base: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = []

    def search_too(*_: Any) -> float:
        with pytest.raises(RunError, match="another process is at work on this sweep") as caught:
            search(base, 1)
        refusals.append(caught.value)
        return 1.0

    monkeypatch.setattr(study, "evaluate_trial", search_too)
    (outcome,) = search(base, 1, tasks=COLD_ALONE)
    assert outcome.state == study.FINISHED and len(refusals) == 1


def test_another_space_or_base_under_the_same_name_is_refused(base: Config, by_rate: list[Config]) -> None:
    search(base, 1)
    with pytest.raises(RunError, match=r"begun with another space, .* give the space another name"):
        search(base, 1, tasks=COLD_ALONE)
    model = base.model_copy(update={"model": base.model.model_copy(update={"gate": False})})
    with pytest.raises(RunError, match="begun with another base configuration"):
        search(model, 1)


def test_a_folder_of_a_run_is_not_taken_for_a_sweep(base: Config) -> None:
    (base.run.folder / "tiny").mkdir(parents=True)
    (base.run.folder / "tiny" / "config.yaml").write_text(base.to_yaml())
    with pytest.raises(RunError, match="a run lies here; give the space another name"):
        search(base, 1)


def test_a_file_that_is_no_study_is_named(base: Config) -> None:
    (base.run.folder / "tiny").mkdir(parents=True)
    (base.run.folder / "tiny" / study.STUDY_FILE).write_text("not a database, but long enough to be taken for one" * 99)
    with pytest.raises(RunError, match=r"study\.db: file is not a database; move it away"):
        search(base, 1)


def test_a_pipe_in_the_place_of_a_study_is_named(base: Config) -> None:
    (base.run.folder / "tiny").mkdir(parents=True)
    os.mkfifo(base.run.folder / "tiny" / study.STUDY_FILE)
    with pytest.raises(RunError, match=r"study\.db: it is no regular file; move it away"):
        search(base, 1)


@pytest.mark.parametrize(
    ("said", "advised"),
    [
        ("database or disk is full", "make room; the same command goes on"),
        ("attempt to write a readonly database", "give this user the right to write it"),
        ("unable to open database file", "give this user the right to read and write it"),
        ("disk I/O error", "make room or check the disk"),
        ("something new", "check the disk and rights"),
    ],
)
def test_a_study_that_a_full_disk_or_missing_rights_stop_is_not_to_be_moved_away(
    said: str, advised: str, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: Any) -> None:
        problem = sqlite3.OperationalError(said)
        raise optuna.exceptions.StorageInternalError("An exception is raised during the commit.") from problem

    monkeypatch.setattr(optuna, "create_study", fails)
    with pytest.raises(RunError, match=rf"study\.db: .*{advised}") as error:
        search(base, 1)
    assert "move it away" not in str(error.value)


def test_trials_that_diverge_or_contradict_themselves_count_and_the_sweep_goes_on(
    base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(config: Config, *_: Any) -> float:
        if config.training.learning_rate > 0.01:
            raise RunError("the loss is nan")
        return config.training.learning_rate

    monkeypatch.setattr(study, "evaluate_trial", fake)
    rates = SPACE["settings"]["training.learning_rate"]
    settings = {"training.learning_rate": rates, "model.heads": {"values": [1, 3]}}  # 3 does not divide a dim of 8.
    found = search(base, 16, settings=settings)
    assert len(found) == 16
    for outcome in found:
        if outcome.settings["model.heads"] == 3:
            assert outcome.state == study.REFUSED and "model.heads must divide model.dim" in outcome.problem
        elif outcome.settings["training.learning_rate"] > 0.01:
            assert outcome.state == study.DIVERGED and outcome.problem == "the loss is nan"
        else:
            assert outcome.state == study.FINISHED and outcome.problem == ""
    assert {outcome.state for outcome in found} == {study.FINISHED, study.DIVERGED, study.REFUSED}
    assert search(base, 16, settings=settings) == found


def test_a_task_that_nobody_can_be_judged_on_stops_the_sweep_and_says_what_to_do(
    base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = base.model_copy(update={"split": base.split.model_copy(update={"cold_share": 0.2})})
    monkeypatch.setattr(trial, "_train_and_rank", lambda *_: {"cold_only": {"users": 0}})
    with pytest.raises(InputError, match=r"no validation user .* slice cold_only.*split\.pseudo_cold_share"):
        search(cold, 3, tasks={"cold": {"metric": "cold_only/recall@20"}})


OUTCOMES = [
    study.TrialOutcome(
        0, study.FINISHED, 0.5, {"warm": 0.5}, {"training.beta": 0.1, "model.id_initialisation": "svd"}, ""
    ),
    study.TrialOutcome(
        1, study.DIVERGED, None, {}, {"training.beta": 0.9, "model.id_initialisation": "svd"}, "the loss is nan"
    ),
    study.TrialOutcome(
        2, study.FINISHED, 0.7, {"warm": 0.7}, {"training.beta": 0.2, "model.id_initialisation": "xavier"}, ""
    ),
]


def test_the_best_trials_come_first_in_the_table() -> None:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(results.best_table(OUTCOMES))
    text = capture.get()
    assert "best trials of 3, 1 failed or refused" in " ".join(text.split("┏")[0].split())
    rows = [re.split(r"\s*│\s*", line.strip("│ \n")) for line in text.splitlines() if line.startswith("│")]
    assert rows == [["2", "0.7000", "0.7000"], ["0", "0.5000", "0.5000"]]
    assert [study.overrides_of(one.settings) for one in results.shown(OUTCOMES)] == [
        "training.beta=0.2 model.id_initialisation=xavier",
        "training.beta=0.1 model.id_initialisation=svd",
    ]


def test_all_trials_are_in_the_csv_the_failed_ones_with_their_problem(tmp_path: Path) -> None:
    results.write_trials(tmp_path / "trials.csv", OUTCOMES)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table) == ["trial", "state", "score", "warm", "training.beta", "model.id_initialisation", "problem"]
    assert table["score"].fillna(-1).tolist() == [0.5, -1, 0.7]
    assert table["problem"].fillna("").tolist() == ["", "the loss is nan", ""]


def test_there_is_a_plot_a_setting_and_one_of_importances(tmp_path: Path) -> None:
    settings = {
        "training.beta": SearchedValues(low=0.01, high=1.0, log=True),
        "model.id_initialisation": SearchedValues(values=("svd", "xavier")),
    }
    found = {"training.beta": 0.9, "model.id_initialisation": 0.1}
    written = results.write_plots(tmp_path, OUTCOMES, found, settings)
    assert [path.name for path in written] == [
        "importance.png",
        "setting-training.beta.png",
        "setting-model.id_initialisation.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert results.write_plots(tmp_path, OUTCOMES[1:2], {}, settings) == []


def test_importance_goes_to_the_setting_that_the_score_hangs_on(base: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "evaluate_trial", lambda config, *_: config.training.beta)
    settings = {"training.beta": {"low": 0.0, "high": 1.0}, "training.user_id_dropout": {"low": 0.0, "high": 1.0}}
    space = SearchSpace.model_validate(changed(SPACE, settings=settings))
    found = study.search(base, space, 12, QUIET)
    shares = results.importances(found, seed=0)
    assert list(shares) == ["training.beta", "training.user_id_dropout"]
    assert shares["training.beta"] > 0.8 and sum(shares.values()) == pytest.approx(1)


def test_nothing_is_important_where_nothing_varies(base: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "evaluate_trial", lambda *_: 0.5)
    assert results.importances(study.search(base, SearchSpace.model_validate(SPACE), 2, QUIET), seed=0) == {}
