"""Settings chosen, choices remembered, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from m3csr_tf.baselines import registry, ridge, search
from m3csr_tf.baselines.log import Baseline, Limits, Log
from m3csr_tf.baselines.search import choose
from m3csr_tf.baselines.stored import Stored, digest
from m3csr_tf.config import BaselineName, load
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.prepare import prepare
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.util.files import sha256, write_json

SMALL = [
    "data.world={users: 200, items: 150, clicks: 3000, noise: 0.2, nuisance: 0.2}",
    "data.world.modalities={visual: 8, acoustic: 5}",
    "split.kind=random",
    "split.cold_share=0.1",
    "clusters.count=2",
    "clusters.max_iterations=1",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(load(None, SMALL), tmp_path_factory.mktemp("world") / "prepared")


def quiet(done: int, total: int | None) -> None:
    pass


def chosen(world: Prepared, name: str, grid: list[dict[str, Any]]) -> search.ChosenSettings:
    return choose(registry.BASELINES[name], grid, world, Log.of(world), None, 0, quiet)


def with_noise(log: Log) -> Log:
    """The world's own utilities as one modality and noise as another, so that the right choice is known."""
    utilities = np.concatenate([np.zeros((2, log.truth["item_utilities"].shape[1])), log.truth["item_utilities"]])
    noise = np.random.default_rng(0).standard_normal(utilities.shape)
    return Log(log.clicks, {"noise": noise, "utilities": utilities}, log.ranked, log.truth)


@pytest.mark.parametrize("name", ["content_knn", "ridge"])
def test_the_modality_that_tells_is_chosen_on_pseudo_cold_items(world: Prepared, name: str) -> None:
    log = with_noise(Log.of(world))
    baseline = registry.BASELINES[name]
    choice = choose(baseline, baseline.grid(log), world, log, None, 0, quiet)
    weights = choice.settings.get("weights") or dict.fromkeys(choice.settings["modalities"], 1)
    assert weights["utilities"] > weights.get("noise", 0)
    assert choice.selected_on == "pseudo-cold" and choice.grid == len(baseline.grid(log))


def test_the_penalty_grows_with_the_noise(world: Prepared) -> None:
    random = np.random.default_rng(1)
    content = random.standard_normal((400, 8)).astype(np.float32)
    scores = random.standard_normal((300, 8)) @ content.T
    clicks = sparse.csr_matrix((scores > np.quantile(scores, 0.95, axis=1, keepdims=True)).astype(np.float32))
    noise = random.standard_normal((400, 150)).astype(np.float32)
    penalties = []
    for only in (content, np.concatenate([content, noise], axis=1)):
        log = Log(clicks, {"only": only}, np.ones(400, bool))
        choice = choose(registry.BASELINES["ridge"], ridge.grid(log), world, log, None, 0, quiet)
        penalties.append(choice.settings["penalty"])
    assert penalties[0] < penalties[1]


def test_validation_recall_decides_and_is_told(world: Prepared) -> None:
    good, bad = {"penalty": 30}, {"penalty": 1e9}
    choice = chosen(world, "ease", [bad, good])
    alone = {setting["penalty"]: chosen(world, "ease", [setting]).recall for setting in (bad, good)}
    assert choice.recall == max(alone.values())
    assert choice.settings["penalty"] == max(alone, key=lambda penalty: alone[penalty])


def test_of_equally_good_settings_the_earlier_is_chosen(world: Prepared) -> None:
    settings = {"asymmetry": 0.5, "discount": 0.0, "shrinkage": 0}
    grid = [settings | {"neighbours": 5000}, settings | {"neighbours": 4000}]  # Both are all of them.
    assert chosen(world, "item_knn", grid).settings["neighbours"] == 5000


def test_no_draw_leaves_a_held_out_click_to_learn_from(world: Prepared) -> None:
    seen: list[Log] = []

    def fits(log: Log, grid: Any) -> Iterator[Vectors]:
        seen.append(log)
        for _ in grid:
            yield Vectors(np.zeros((log.clicks.shape[0], 1), np.float32), np.zeros((len(log.ranked), 1), np.float32))

    log = Log.of(world)
    choose(Baseline(fits, selected_on="pseudo-cold"), [{}], world, log, None, 0, quiet)
    assert len(seen) == search.DRAWS
    for draw in seen:
        assert (draw.by_item[draw.ranked] == 0).all()
        assert (draw.by_item[~draw.ranked] == log.by_item[~draw.ranked]).all()
        assert draw.ranked.sum() == round(search.HELD_OUT * np.count_nonzero(log.by_item))


def fitted(world: Prepared, runs: Path, *names: str) -> tuple[dict[str, registry.Fitted], list[str]]:
    said: list[str] = []
    return {found.name: found for found in registry.fitted(names, world, runs, None, said.append)}, said


def test_a_search_is_made_once_and_then_remembered(world: Prepared, tmp_path: Path) -> None:
    first, said = fitted(world, tmp_path, "ease")
    assert said == ["ease: trying 7 settings on validation ..."]
    again, said = fitted(world, tmp_path, "ease")
    assert again["ease"].choice == first["ease"].choice
    assert len(said) == 1 and "as chosen before" in said[0]


def test_another_grid_or_another_folder_of_runs_is_searched_again(world: Prepared, tmp_path: Path) -> None:
    stored = Stored(tmp_path, world, None, 0)
    grid = [{"penalty": 1}, {"penalty": 2}]
    choice = chosen(world, "ease", grid)
    stored.write("ease", grid, choice)
    assert stored.read("ease", grid) == choice
    assert stored.read("ease", grid[:1]) is None
    assert Stored(tmp_path, world, 100, 0).read("ease", grid) is None
    assert Stored(tmp_path / "other", world, None, 0).read("ease", grid) is None
    stored.path("ease").write_text('{"question"')
    assert stored.read("ease", grid) is None


def test_other_clicks_are_searched_again_and_other_clusters_are_not(world: Prepared, tmp_path: Path) -> None:
    other = prepare(load(None, [*SMALL, "clusters.count=3"]), tmp_path / "clusters")
    assert other.manifest["files"]["clusters.npy"] != world.manifest["files"]["clusters.npy"]
    assert digest(other) == digest(world)
    other = prepare(load(None, [*SMALL, "split.seed=1"]), tmp_path / "split")
    assert digest(other) != digest(world)


def test_ridge_to_factors_takes_the_settings_chosen_for_ials(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [{"factors": width, "alpha": 5, "penalty": 10, "sweeps": 2} for width in (2, 4)]
    ials = Baseline(registry.BASELINES["ials"].fits, lambda log: small)
    monkeypatch.setitem(registry.BASELINES, "ials", ials)
    found, said = fitted(world, tmp_path, "ridge_ials")
    assert [line.split(":")[0] for line in said] == ["ials", "ridge_ials"]
    assert found["ridge_ials"].choice is not None
    of_ials = json.loads(next(tmp_path.rglob("ials.json")).read_text())["choice"]["settings"]
    assert found["ridge_ials"].choice.settings["ials"] == of_ials


def test_a_log_beyond_the_limit_is_left_out_in_one_sentence(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ease = Baseline(registry.BASELINES["ease"].fits, limits=Limits(items=100))
    monkeypatch.setitem(registry.BASELINES, "ease", ease)
    found, said = fitted(world, tmp_path, "popularity", "ease")
    assert list(found) == ["popularity"]
    assert said == ["ease is left out: 150 items, at most 100"]


def test_tuned_means_all_that_apply(world: Prepared, tmp_path: Path) -> None:
    assert registry.named("tuned", world) == list(registry.TUNED)
    assert registry.named(("ridge",), world) == ["ridge"]
    stripped = tmp_path / "prepared"
    stripped.mkdir()
    for path in world.folder.iterdir():
        if path.name not in ("truth.npz", "manifest.json"):
            (stripped / path.name).symlink_to(path)
    files = {name: digest for name, digest in world.manifest["files"].items() if name != "truth.npz"}
    write_json(stripped / "manifest.json", {**world.manifest, "files": files})
    real = Prepared.open(stripped)
    assert registry.named("tuned", real) == [name for name in registry.TUNED if name != "truth"]
    assert registry.left_out("truth", real) == "only data.format=world knows its truth"


def test_the_settings_know_the_same_names_as_the_code() -> None:
    assert set(get_args(BaselineName)) == set(registry.BASELINES)


def test_without_validation_clicks_the_first_settings_are_taken(world: Prepared, tmp_path: Path) -> None:
    empty = tmp_path / "prepared"
    empty.mkdir()
    for path in world.folder.iterdir():
        (empty / path.name).symlink_to(path)
    (empty / "val.parquet").unlink()
    pd.read_parquet(world.folder / "val.parquet")[:0].to_parquet(empty / "val.parquet")
    (empty / "manifest.json").unlink()
    files = {**world.manifest["files"], "val.parquet": sha256(empty / "val.parquet")}
    write_json(empty / "manifest.json", {**world.manifest, "files": files})
    choice = chosen(Prepared.open(empty), "ease", [{"penalty": 7}, {"penalty": 3}])
    assert choice.settings == {"penalty": 7} and choice.recall is None
