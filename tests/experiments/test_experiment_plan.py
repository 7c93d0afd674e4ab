"""The file of an experiment, and what follows from it before anything is run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.config import Config, with_settings
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments.comparison.draws import draws
from m3csr_tf.experiments.comparison.jobs import Jobs, Planned
from m3csr_tf.experiments.comparison.planning import Cell, of_subset, plan, within_budget
from m3csr_tf.experiments.comparison.settings import read_experiment
from m3csr_tf.experiments.sweep.space import SearchedValues
from m3csr_tf.training.budget import Budget

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"
RATES = {"training.learning_rate": {"values": [0.001, 0.003, 0.01]}, "training.beta": {"low": 0.001, "high": 0.1}}
TREE: dict[str, Any] = {
    "seeds": 2,
    "trials": 3,
    "epochs": 20,
    "baselines": ["popularity", "ials", "ridge_ials"],
    "models": {"m3csr": {"title": "M3CSR", "search": RATES}, "bpr_mf": {"search": RATES}},
    "data": {
        "world": {
            "settings": ["data.world={users: 60, items: 80, clicks: 900}", "split.kind=random"],
            "splits": {
                "warm": {"ablations": 1},
                "cold": {"settings": ["split.cold_share=0.2", "split.cold_validation=0.5"], "chosen_on": "warm"},
            },
        }
    },
}


def written(folder: Path, tree: dict[str, Any]) -> Path:
    path = folder / "paper.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def changed(**entries: Any) -> dict[str, Any]:
    return TREE | entries


def cells_of(folder: Path, tree: dict[str, Any], *overrides: str) -> list[Cell]:
    file = written(folder, tree)
    return plan(read_experiment(file), file, folder / "runs", overrides, {})


def jobs_of(folder: Path, tree: dict[str, Any]) -> list[Planned]:
    file = written(folder, tree)
    experiment = read_experiment(file)
    return Jobs(experiment, plan(experiment, file, folder / "runs", (), {})).all()


def test_a_file_becomes_trials_baselines_and_runs_of_every_seed(tmp_path: Path) -> None:
    planned = jobs_of(tmp_path, TREE)
    # Two models with three trials on the split that is searched; two seeds and three baselines on both; four ablations
    # on the first; and both kinds see the same data, prepared once a split.
    counts = Counter((one.cell, one.role) for one in planned)
    assert counts == {
        ("world-warm", "data"): 1,
        ("world-warm", "trial"): 6,
        ("world-warm", "baseline"): 3,
        ("world-warm", "model"): 4,
        ("world-warm", "ablation"): 4,
        ("world-cold", "data"): 1,
        ("world-cold", "baseline"): 3,
        ("world-cold", "model"): 4,
    }
    names = [one.job.name for one in planned]
    assert len(set(names)) == len(names)
    assert {"world-warm-m3csr-trial2", "world-cold-bpr_mf-seed1", "world-warm-m3csr-without-gate-seed0"} <= set(names)


def test_subsets_are_called_by_their_modalities_whatever_stands_in_the_names(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    settings = ["data.format=table", "data.modalities={title_text: t, sound: s, look: l}"]
    splits = {"given": {"subsets": 1}}
    tree = changed(data={"films": {"path": f"{tmp_path}/logs", "settings": settings, "splits": splits}})
    names = {one.system: one.job.name for one in jobs_of(tmp_path, tree) if one.role == "subset"}
    # Of three modalities, each alone and each pair.
    pairs = ["title_text + sound", "title_text + look", "sound + look"]
    assert list(names) == ["title_text", "sound", "look", *pairs]
    assert names["title_text + sound"] == "films-given-m3csr-only-title_text-sound-seed0"


def test_a_subset_of_two_is_not_called_like_a_modality_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    settings = ["data.format=table", "data.modalities={a: x, b: y, a_b: z}"]
    splits = {"given": {"subsets": 1}}
    tree = changed(data={"films": {"path": f"{tmp_path}/logs", "settings": settings, "splits": splits}})
    names = {one.system: one.job.name for one in jobs_of(tmp_path, tree) if one.role == "subset"}
    assert names["a + b"] == "films-given-m3csr-only-a-b-seed0"
    assert names["a_b"] == "films-given-m3csr-only-a_b-seed0"
    assert len(set(names.values())) == 6


def test_names_that_are_the_same_once_put_together_are_refused(tmp_path: Path) -> None:
    world = TREE["data"]["world"]
    tree = changed(data={"a": world | {"splits": {"b-c": {}}}, "a-b": world | {"splits": {"c": {}}}})
    with pytest.raises(ConfigError, match=r"two data sets with their splits would be called a-b-c: "):
        jobs_of(tmp_path, tree)
    ablation = {"kind": "m3csr", "search": RATES}
    with pytest.raises(ConfigError, match=r"two runs would be called world-warm-m3csr-without-gate-seed0: "):
        jobs_of(tmp_path, changed(models={"m3csr": {"search": RATES}, "m3csr-without-gate": ablation}))


def test_jobs_come_after_those_they_need_and_take_choices_from_the_other_split(tmp_path: Path) -> None:
    seen: set[str] = set()
    for one in jobs_of(tmp_path, TREE):
        assert set(one.job.after) <= seen, one.job.name
        seen.add(one.job.name)
        if one.job.name == "world-cold-bpr_mf-seed0":
            assert {f"world-warm-bpr_mf-trial{k}" for k in range(3)} <= set(one.job.after)
        if one.job.name == "world-warm-ridge_ials":  # Its grid begins with the settings chosen for iALS.
            assert "world-warm-ials" in one.job.after


def test_every_model_has_the_same_number_of_trials_and_begins_with_its_own_settings(tmp_path: Path) -> None:
    (warm, cold) = cells_of(tmp_path, TREE)
    assert {name: len(trials) for name, trials in warm.trials.items()} == {"m3csr": 3, "bpr_mf": 3}
    for trials in warm.trials.values():
        assert trials[0] == {}
        assert all(set(one) == set(RATES) for one in trials[1:]) and trials[1] != trials[2]
    assert cold.trials == {} and cold.bases["bpr_mf"].split.cold_validation == 0.5


def test_draws_hang_on_seed_model_and_place_alone(tmp_path: Path) -> None:
    (first, _), (again, _) = cells_of(tmp_path, TREE), cells_of(tmp_path, TREE)
    assert first.trials == again.trials
    (longer, _) = cells_of(tmp_path, changed(trials=5))
    assert longer.trials["bpr_mf"][:3] == first.trials["bpr_mf"]
    (other, _) = cells_of(tmp_path, changed(search_seed=1))
    assert other.trials["bpr_mf"] != first.trials["bpr_mf"]
    assert first.trials["bpr_mf"][1] != first.trials["m3csr"][1]


@given(st.integers(0, 1000), st.sampled_from([(1e-4, 1e-1, True), (0.1, 0.9, False)]))
@settings(max_examples=50, deadline=None)
def test_what_is_drawn_lies_in_its_space(seed: int, space: tuple[float, float, bool]) -> None:
    low, high, log = space
    search = {
        "training.learning_rate": SearchedValues(low=low, high=high, log=log),
        "model.dim": SearchedValues(low=8, high=64, step=8),
        "training.batch_size": SearchedValues(low=10, high=1000, log=True),
    }
    for drawn in draws(search, Config(), 4, "m3csr", seed)[1:]:
        assert low * 0.995 <= drawn["training.learning_rate"] <= high * 1.005  # Rounded to three figures.
        assert drawn["model.dim"] in range(8, 65, 8) and type(drawn["model.dim"]) is int
        assert 10 <= drawn["training.batch_size"] <= 1000 and type(drawn["training.batch_size"]) is int
        with_settings(Config(), drawn)


@given(st.floats(1, 300), st.integers(100, 100_000), st.sampled_from([None, 5, 5000]), st.sampled_from([64, 1024]))
def test_no_training_passes_over_the_clicks_more_often_than_the_budget_allows(epochs, clicks, steps, batch) -> None:
    config = with_settings(Config(), {"training.max_steps": steps, "training.batch_size": batch})
    own, found = Budget.of(config.training, clicks), Budget.of(within_budget(config, clicks, epochs).training, clicks)
    assert found.steps == min(own.steps, found.steps)
    assert found.epochs <= epochs + batch / clicks  # The last step may be a part of one too many.
    if own.epochs <= epochs:
        assert found == own


def test_runs_take_one_thread_and_lie_in_the_folder_of_the_experiment(tmp_path: Path) -> None:
    (cell, _) = cells_of(tmp_path, TREE)
    assert cell.bases["m3csr"].run.threads == 1 and cell.bases["m3csr"].run.folder == tmp_path / "runs"
    assert set(range(1, 21)) <= set(cell.bases["m3csr"].evaluation.top_n)
    (given_, _) = cells_of(tmp_path, TREE, "run.threads=2", "evaluation.top_n=[20]")
    assert given_.bases["m3csr"].run.threads == 2 and given_.bases["m3csr"].evaluation.top_n == (20,)


def test_every_smaller_set_of_modalities_is_trained_where_the_split_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    modalities = "data.modalities={text: t, poster: p, genre: g}"
    films: dict[str, Any] = {"path": str(tmp_path / "films"), "settings": ["data.format=table", modalities]}
    tree = changed(
        trials=1, baselines=[], models={"m3csr": {}}, data={"films": {**films, "splits": {"all": {"subsets": 1}}}}
    )
    found = [one for one in jobs_of(tmp_path, tree) if one.role == "subset"]
    # Three alone and three pairs; all three together are the model itself.
    pairs = ["text + poster", "text + genre", "poster + genre"]
    assert [one.system for one in found] == ["text", "poster", "genre", *pairs]
    assert found[3].job.name == "films-all-m3csr-only-text_poster-seed0"
    (cell,) = cells_of(tmp_path, tree)
    assert of_subset(cell.bases["m3csr"], ("text", "genre")).data.modalities == {"text": "t", "genre": "g"}


def models(**entries: Any) -> dict[str, Any]:
    return changed(models={"m3csr": {}, **entries}, trials=1)


def data(**entries: Any) -> dict[str, Any]:
    return changed(data={"films": {"splits": {"given": {}}} | entries})


BAD = {
    "unknown kind": (models(gcn={}), r"there is no model\.kind 'gcn'; expected one of m3csr"),
    "unknown entry": (changed(models={"m3csr": {"sort": "x"}}), r"unknown entry models\.m3csr\.sort"),
    "no models": (changed(models={}), "models"),
    "two of a title": (models(bpr_mf={"title": "m3csr"}), "title of two systems"),
    "title of a baseline": (models(ease={"kind": "bpr_mf"}), "title of two systems"),
    "unknown ours": (changed(ours="vbpr"), "ours is 'vbpr', but models are m3csr, bpr_mf"),
    "unknown model of a split": (data(splits={"given": {"models": ["vbpr"]}}), "'vbpr' is no model of the file"),
    "ours left out": (data(splits={"given": {"models": ["bpr_mf"]}}), "m3csr, the model that is compared"),
    "unknown baseline": (changed(baselines=["svd"]), r"baselines.*'svd'"),
    "unknown split": (data(splits={"a": {"chosen_on": "b"}}), r"splits\.a\.chosen_on is 'b'"),
    "own setting": (changed(settings=["run.seed=3"]), "the experiment's own"),
    "unknown setting": (changed(settings=["training.speed=3"]), r"unknown setting training\.speed"),
    "no folder": (data(settings=["data.format=table", "data.modalities={visual: clip}"]), r"data\.path is needed"),
    "absent folder": (
        data(path="/nowhere", settings=["data.format=table", "data.modalities={visual: clip}"]),
        r"data\.path=/nowhere: there is no such folder; give it with data\.path=FOLDER or --data films=FOLDER",
    ),
    "few settings": (
        changed(trials=4, models={"m3csr": {"search": {"model.dim": {"values": [32, 64]}}}}),
        r"models\.m3csr\.search has fewer than 4 different settings",
    ),
    "no search": (changed(models={"m3csr": {}}), r"models\.m3csr\.search has fewer than 3"),
    "searched data": (
        changed(models={"m3csr": {"search": {"split.cold_share": {"values": [0.1, 0.2, 0.3]}}}}),
        r"settings\.split\.cold_share: cannot be searched",
    ),
    "ablations of another kind": (
        changed(ours="bpr_mf"),
        r"ablations and subsets are of model\.kind=m3csr, and ours is bpr_mf",
    ),
    "subsets of a world": (
        changed(trials=1, data={"world": {"splits": {"warm": {"subsets": 1}}}}),
        r"modalities cannot be taken from data\.format=world",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, fault: str) -> None:
    tree, message = BAD[fault]
    with pytest.raises(ConfigError, match=message) as error:
        cells_of(tmp_path, tree)
    assert str(error.value).startswith(str(tmp_path / "paper.yaml")) and "\n" not in str(error.value)


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "paper.yaml").write_text("models: {m3csr: {}, m3csr: {}}\ndata: {world: {splits: {warm: {}}}}\n")
    with pytest.raises(ConfigError, match="'m3csr' is there twice"):
        read_experiment(tmp_path / "paper.yaml")


def test_an_override_of_what_the_experiment_decides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"override 'run\.seed=1'|override run\.seed=1"):
        cells_of(tmp_path, TREE, "run.seed=1")


def test_quick_replaces_entries_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, changed(quick={"seeds": 1, "trials": 1}))
    assert read_experiment(file).trials == 3
    assert (read_experiment(file, quick=True).trials, read_experiment(file, quick=True).seeds) == (1, 1)
    with pytest.raises(ConfigError, match="--quick needs a section quick"):
        read_experiment(written(tmp_path, TREE), quick=True)


@pytest.mark.parametrize("name", ["paper_demo", "paper_tiktok", "paper_mlsmall"])
def test_the_files_that_come_with_the_product_can_be_planned(tmp_path: Path, name: str) -> None:
    file = CONFIGS / f"{name}.yaml"
    experiment = read_experiment(file)
    for data_set in experiment.data:
        (tmp_path / data_set).mkdir()
    given_ = {} if name == "paper_demo" else {data_set: tmp_path / data_set for data_set in experiment.data}
    cells = plan(experiment, file, tmp_path / "runs", (), given_)
    assert cells and all(len(trials) == experiment.trials for cell in cells for trials in cell.trials.values())
    assert experiment.first == "m3csr"
