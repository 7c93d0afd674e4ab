"""Nights: a run that goes on from the one before, on logs that have grown, with users and items that came and went."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from easy_world import WORLD

from m3csr_tf import columns
from m3csr_tf.config import Config, SplitConfig, WorldConfig, with_settings
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.data.world import make_world
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW
from m3csr_tf.models.m3csr import warm_start as weights
from m3csr_tf.prepare import prepare
from m3csr_tf.sampling.training_data import TrainingData, item_features
from m3csr_tf.training import run_files, runs, warm_start
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.vectors import VectorEncoder

MakeConfig = Callable[..., Config]
MODALITIES = list(WORLD["modalities"])  # type: ignore[call-overload]
GONE_ITEM, GONE_USER = "v003", "u03"


@dataclass(frozen=True)
class Nights:
    """A finished run of the first night, and what the second one is to go on with.

    Attributes:
      before: the run, trained on the earlier part of the log, without some videos and users.
      config, prepared, data: of the second night, on the whole log, which lacks a user and a video of the first.
      model: of the second night, before its first step.
    """

    before: TrainedRun
    config: Config
    prepared: Prepared
    data: TrainingData
    model: Any


def write_logs(folder: Path, interactions: pd.DataFrame, items: set[str]) -> None:
    raw = make_world(WorldConfig.model_validate(WORLD))
    frame = raw.catalogue.frame.drop(columns=columns.VIEW_COUNT)
    frame = frame.assign(**{name: list(vectors) for name, vectors in raw.catalogue.content.items()})
    folder.mkdir()
    interactions[interactions[columns.ITEM_ID].isin(items)].to_parquet(folder / "interactions.parquet")
    frame[frame[columns.ITEM_ID].isin(items)].to_parquet(folder / "catalogue.parquet")


@pytest.fixture(scope="session")
def night(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Config]:
    """`night("one")`, `night("two", training={...})`: settings of runs in one folder, each on its own logs."""
    root = tmp_path_factory.mktemp("nights")
    raw = make_world(WorldConfig.model_validate(WORLD))
    whole = raw.interactions.sort_values(columns.TIMESTAMP)
    first = whole.iloc[: int(0.7 * len(whole))]
    known = set(raw.catalogue.frame[columns.ITEM_ID])
    late = set(raw.catalogue.frame[columns.ITEM_ID].iloc[::10])
    write_logs(root / "one", first[~first[columns.USER_ID].isin(["u01", "u02"])], known - late)
    write_logs(root / "two", whole[whole[columns.USER_ID] != GONE_USER], known - {GONE_ITEM})

    def settings(name: str, logs: str | None = None, **sections: Any) -> Config:
        data = {"format": "table", "path": root / (logs or name), "modalities": {one: one for one in MODALITIES}}
        split = {"kind": "time", "ratios": [0.7, 0.15, 0.15]}
        # From singular vectors so easy a world is known at once, and a second night has nothing to learn.
        sections["model"] = {"id_initialisation": "walks"} | sections.get("model", {})
        return make_config(root / "runs", name, data=data, split=split, **sections)

    return settings


@pytest.fixture(scope="session")
def nights(night: Callable[..., Config]) -> Nights:
    one = night("one")
    fit(one, prepare(one))
    two = night("two", training={**one.training.model_dump(), "warm_start": "one"})
    prepared = prepare(two)
    data = TrainingData.of(prepared, two)
    model = runs.build_model(two, prepared)
    warm_start.warm_start(model, data, prepared, two)
    return Nights(load_trained(one.run_folder), two, prepared, data, model)


def recalls(config: Config) -> np.ndarray:
    table = pd.read_csv(config.run_folder / run_files.LOGS / "validations.csv")
    return table["recall@20"].to_numpy()


def written(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def shared_rows(before: Any, after: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the ids that two tables have in common, in the first and in the second."""
    common = np.intersect1d(before.known, after.known)
    return before.rows(common), after.rows(common)


def test_the_vocabularies_have_grown_and_shrunk(nights: Nights) -> None:
    before, after = nights.before.prepared, nights.prepared
    assert GONE_ITEM in before.items.known and GONE_ITEM not in after.items.known
    assert GONE_USER in before.users.known and GONE_USER not in after.users.known
    assert {"u01", "u02"} <= set(after.users.known) - set(before.users.known)
    new = np.setdiff1d(after.items.known, before.items.known)
    assert len(new) == 15 and after.train_clicks[after.items.rows(new)].sum() > 15
    old_rows, new_rows = shared_rows(before.items, after.items)
    assert (old_rows != new_rows).any()  # Else copying by row would look right.
    assert nights.model.encoder.id_embedding.shape[0] == len(after.items)


def test_known_users_and_items_keep_their_rows_whatever_their_number(nights: Nights) -> None:
    before, model = nights.before, nights.model
    old_rows, new_rows = shared_rows(before.prepared.users, nights.prepared.users)
    np.testing.assert_array_equal(
        model.user_tower.user_embedding.numpy()[new_rows], before.model.user_tower.user_embedding.numpy()[old_rows]
    )
    old_rows, new_rows = shared_rows(before.prepared.items, nights.prepared.items)
    placed = before.prepared.train_clicks[old_rows] > 0
    assert 0 < placed.sum()
    np.testing.assert_array_equal(
        model.encoder.id_embedding.numpy()[new_rows[placed]],
        before.model.encoder.id_embedding.numpy()[old_rows[placed]],
    )
    reserved = slice(0, FIRST_ROW)
    np.testing.assert_array_equal(model.encoder.id_embedding[reserved], before.model.encoder.id_embedding[reserved])


def test_the_prediction_of_new_ids_is_carried_over(nights: Nights) -> None:
    before, after = nights.before.model.encoder.id_prediction, nights.model.encoder.id_prediction
    assert np.abs(before.coefficients).max() > 0.01
    for old, new in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_new_user_starts_as_unknown_users_were_seen(nights: Nights) -> None:
    rows = nights.prepared.users.rows(["u01", "u02"])
    unknown = nights.before.model.user_tower.user_embedding.numpy()[UNKNOWN_ROW]
    np.testing.assert_array_equal(nights.model.user_tower.user_embedding.numpy()[rows], [unknown] * 2)


def test_all_but_the_tables_of_ids_is_copied(nights: Nights) -> None:
    old, new = nights.before.model, nights.model
    tables = {new.encoder.id_embedding.ref(), new.user_tower.user_embedding.ref()}
    pairs = list(zip(old.trainable_variables, new.trainable_variables, strict=True))
    assert any("gate" in one.name for one, _ in pairs) and any("popularity_bias" in one.name for one, _ in pairs)
    for one, other in pairs:
        if other.ref() not in tables:
            np.testing.assert_array_equal(one, other, err_msg=one.name)


def test_scaling_centres_and_edges_are_those_of_the_first_night(nights: Nights, make_config: MakeConfig) -> None:
    before, after = nights.before.prepared, nights.prepared
    fresh = prepare(nights.config.model_copy(update={"training": nights.before.config.training}), after.folder / "x")
    for name in MODALITIES:
        np.testing.assert_array_equal(after.scaler.projection[name], before.scaler.projection[name])
        np.testing.assert_array_equal(after.clusters.centres[name], before.clusters.centres[name])
        assert np.abs(fresh.clusters.centres[name] - before.clusters.centres[name]).max() > 1e-3
    np.testing.assert_array_equal(after.popularity.edges, before.popularity.edges)
    assert fresh.popularity.edges.tolist() != before.popularity.edges.tolist()
    scaled = {name: before.scaler.transform(name, raw) for name, raw in after.content.items()}
    present = {name: ~np.isnan(raw).any(axis=1) for name, raw in after.content.items()}
    np.testing.assert_array_equal(after.cluster_ids, before.clusters.assign(scaled, present))
    np.testing.assert_array_equal(after.bins, before.popularity.bin(after.train_clicks))


def test_the_vector_of_a_known_item_is_that_of_the_first_night_in_the_same_bin(nights: Nights) -> None:
    before, after = nights.before.prepared, nights.prepared
    old = VectorEncoder(nights.before.model, item_features(before)).items()
    new = VectorEncoder(nights.model, item_features(after)).items()
    old_rows, new_rows = shared_rows(before.items, after.items)
    same = before.bins[old_rows] == after.bins[new_rows]
    assert same.sum() > 10
    np.testing.assert_allclose(new[new_rows[same]], old[old_rows[same]], atol=1e-6)
    assert np.abs(new[new_rows[~same]] - old[old_rows[~same]]).max() > 1e-3


def test_new_items_start_at_the_map_of_their_factors_into_the_space_of_the_known_rows() -> None:
    random = np.random.default_rng(0)
    factors = random.normal(size=(60, 4)).astype(np.float32)
    rotation = 3 * np.linalg.qr(random.normal(size=(4, 4)))[0]
    rows = (factors @ rotation).astype(np.float32)
    placed, clicked = np.arange(60) < 40, np.arange(60) % 10 != 9
    given = np.where(placed[:, np.newaxis], rows, 7.0).astype(np.float32)
    found = weights.new_item_rows(given, placed, factors, clicked)
    new = clicked & ~placed
    assert new.sum() == 18
    np.testing.assert_allclose(found[new], rows[new], rtol=0.01, atol=0.01)
    np.testing.assert_array_equal(found[~new], given[~new])


def test_new_items_find_their_viewers_better_than_unknown_ones_at_the_start(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean percentile of a new item's later viewers, among all users who have not clicked it yet, by its id part."""
    prepared, data = nights.prepared, nights.data
    model = runs.build_model(nights.config, prepared)
    monkeypatch.setattr(weights, "new_item_rows", lambda rows, *_: rows)
    warm_start.warm_start(model, data, prepared, nights.config)
    later = pd.concat([prepared.split(columns.VAL), prepared.split(columns.TEST)])
    new = prepared.items.rows(np.setdiff1d(prepared.items.known, nights.before.prepared.items.known))
    later = later[later[columns.ITEM_ROW].isin(new[prepared.train_clicks[new] > 0])]
    users, items = later[columns.USER_ROW].to_numpy(), later[columns.ITEM_ROW].to_numpy()
    everybody = np.arange(FIRST_ROW, len(prepared.users))

    def percentile(of: Any) -> float:
        encoder = VectorEncoder(of, data.features)
        width = nights.config.model.id_width
        scores = encoder.users(everybody, data.histories[everybody])[:, :width] @ encoder.items()[:, :width].T
        own = scores[users - FIRST_ROW, items]
        return float((scores[:, items] < own).mean())

    assert len(later) > 15
    assert percentile(nights.model) > percentile(model) + 0.2


def test_new_items_that_the_sampled_users_did_not_click_start_as_unknown_ones(nights: Nights) -> None:
    prepared, data = nights.prepared, nights.data
    new = np.setdiff1d(prepared.items.known, nights.before.prepared.items.known)
    rows = prepared.items.rows(new)
    sampled = data.clicks[: len(prepared.users) // 4]
    seen = np.asarray(sampled[:, rows].sum(axis=0)).ravel() > 0
    missed = ~seen & (prepared.train_clicks[rows] > 0)
    assert seen.any() and missed.any()
    model = runs.build_model(nights.config, prepared)
    sample = dataclasses.replace(data, clicks=sampled, histories=data.histories[: sampled.shape[0]], item_graph=None)
    warm_start.warm_start(model, sample, prepared, nights.config)
    unknown = nights.before.model.encoder.id_embedding.numpy()[UNKNOWN_ROW]
    started = model.encoder.id_embedding.numpy()[rows]
    np.testing.assert_array_equal(started[missed], np.tile(unknown, (missed.sum(), 1)))
    assert (started[seen] != unknown).any(axis=1).all()


@pytest.fixture(scope="module")
def second_night(nights: Nights, night: Callable[..., Config]) -> Config:
    """A finished second night."""
    steps = {"max_steps": 40, "evaluate_every": 5}
    config = night("second", "two", training={**nights.config.training.model_dump(), **steps})
    fit(config, prepare(config))
    return config


def test_the_second_night_starts_far_above_random_weights_and_ends_no_worse_than_a_fresh_run(
    second_night: Config, night: Callable[..., Config]
) -> None:
    warm = second_night
    fresh = night("fresh", "two", training={**warm.training.model_dump(), "warm_start": None})
    fit(fresh, prepare(fresh))
    steps = pd.read_csv(warm.run_folder / run_files.LOGS / "validations.csv")["step"].tolist()
    assert steps == [0, *range(5, 41, 5)]  # What it started from is a candidate too.
    random = fresh.model.model_copy(
        update={"id_initialisation": "xavier", "content_initialisation": "xavier"}
    ).model_dump()
    blank = night("blank", "two", model=random, training={**fresh.training.model_dump(), "max_steps": 1})
    fit(blank, prepare(blank))
    assert recalls(warm)[0] > recalls(blank)[0] + 0.1
    assert recalls(warm).max() >= recalls(fresh).max()
    resolved = (warm.run_folder / run_files.CONFIG_FILE).read_text()
    assert "warm_start: one" in resolved
    assert load_trained(warm.run_folder).config.training.warm_start == "one"


def test_nights_can_follow_each_other_and_a_checkpoint_goes_before_the_start(
    nights: Nights, second_night: Config, night: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = second_night.training.model_dump() | {"max_steps": 4, "evaluate_every": 2}
    third = night("third", "two", training={**steps, "warm_start": "second"})
    fit(third, prepare(third))
    whole = load_trained(third.run_folder)
    assert whole.prepared.clusters.centres.keys() == nights.before.prepared.clusters.centres.keys()
    np.testing.assert_array_equal(whole.prepared.popularity.edges, nights.before.prepared.popularity.edges)
    # As if it had been killed after its last checkpoint: nothing of the start may be asked for again.
    (third.run_folder / runs.FINISHED_FILE).unlink()
    monkeypatch.setattr("m3csr_tf.training.initialise.warm_start", lambda *_: pytest.fail("started again"))
    fit(third, whole.prepared)
    again = load_trained(third.run_folder)
    for one, other in zip(whole.model.trainable_variables, again.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_prepared_folder_follows_the_run_that_it_starts_from(nights: Nights, night: Callable[..., Config]) -> None:
    from m3csr_tf.prepare import is_current

    one = nights.before.config
    folder = nights.prepared.folder
    assert is_current(nights.config, folder)
    assert nights.prepared.manifest["warm_start"] == {
        "run": "one",
        "prepared": run_files.data_digest(nights.before.prepared),
    }
    fresh = nights.config.model_copy(update={"training": one.training})
    assert not is_current(fresh, folder)
    shutil.copytree(one.run_folder, one.run.folder / "other")
    other = night("two", training=one.training.model_dump() | {"warm_start": "other"})
    assert not is_current(other, folder)
    with pytest.raises(RunError, match=r"was not prepared to start from one as it is now; run pipelines/prepare\.py"):
        warm_start.warm_start(nights.model, nights.data, nights.before.prepared, nights.config)


def test_validation_clicks_that_the_first_night_trained_on_are_said(
    nights: Nights, night: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    warm_start.warm_start(runs.build_model(nights.config, nights.prepared), nights.data, nights.prepared, nights.config)
    assert not caplog.records  # Split by time, each night's validation is later than what the one before has seen.
    training = nights.config.training.model_dump()
    mixed = night("mixed", "two", training=training).model_copy(update={"split": SplitConfig(kind="random")})
    prepared = prepare(mixed)
    warm_start.warm_start(runs.build_model(mixed, prepared), TrainingData.of(prepared, mixed), prepared, mixed)
    messages = [record.getMessage() for record in caplog.records]

    def pairs(data: Prepared, split: str) -> set[tuple[str, str]]:
        frame = data.split(split)
        users, items = data.users.ids(frame["user_row"].to_numpy()), data.items.ids(frame["item_row"].to_numpy())
        return set(zip(users, items, strict=True))

    trained = pairs(nights.before.prepared, columns.TRAIN)
    for message, split, called in zip(messages, (columns.VAL, columns.TEST), ("validation", "test"), strict=True):
        judged = pairs(prepared, split)
        said = f"{len(judged & trained)} of {len(judged)} {called} clicks are training clicks of the run"
        assert said in message


def test_where_fresh_weights_would_start_does_not_matter_to_a_warm_start(nights: Nights) -> None:
    own = nights.config.model
    assert (own.id_initialisation, own.content_initialisation) != ("svd", "xavier")
    warm_start.check_warm_start(
        with_settings(nights.config, {"model.id_initialisation": "svd", "model.content_initialisation": "xavier"})
    )


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": {"warm_start": "none"}},
            r"training\.warm_start=none: there is no run in .*none; name a finished",
        ),
        ({"training": {"warm_start": "begun"}}, r"training\.warm_start=begun: .*begun: training has not finished"),
        (
            {"training": {"warm_start": "one"}, "model": {"new_ids": "shared"}},
            r"model has other settings \(model\.new_ids: content -> shared\)",
        ),
        ({"training": {"warm_start": "one"}, "model": {"dim": 4}}, r"model has other settings \(model\.dim: 8 -> 4\)"),
        (
            {"training": {"warm_start": "one"}, "clusters": {"count": 5}},
            r"training\.warm_start=one: .*other settings \(clusters\.count: 4 -> 5\)",
        ),
        (
            {"training": {"warm_start": "one"}, "data": {"modalities": {"acoustic": "acoustic", "visual": "visual"}}},
            r"modalities visual, acoustic, this one acoustic, visual \(data\.modalities\)",
        ),
        (
            {"training": {"warm_start": "one"}, "data": {"modalities": {"visual": "acoustic", "acoustic": "visual"}}},
            r"that run's visual vectors have width 8, the catalogue's 6",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused_before_anything_is_written(
    sections: dict, message: str, nights: Nights, night: Callable[..., Config]
) -> None:
    from m3csr_tf.verbs.train import train

    run_files.open_run(night("begun", "one"))
    config = night("refused", "two")
    tree = config.model_dump(mode="json")
    for section, values in sections.items():
        tree[section] |= values
    before = written(config.run.folder)
    with pytest.raises(RunError, match=message):
        train(Config.model_validate(tree))
    assert written(config.run.folder) == before


def test_the_start_need_not_be_named_again_to_open_a_run_but_to_train_it(second_night: Config) -> None:
    from m3csr_tf.verbs.load_run import load_run

    unnamed = second_night.training.model_copy(update={"warm_start": None})
    config = second_night.model_copy(update={"training": unnamed})
    assert load_run(config).config == second_night
    with pytest.raises(RunError, match=r"another configuration \(training\.warm_start: one -> None\)"):
        run_files.check_run(config)
    other = second_night.training.model_copy(update={"warm_start": "other"})
    with pytest.raises(RunError, match=r"training\.warm_start: one -> other"):
        load_run(second_night.model_copy(update={"training": other}))


def test_a_run_cannot_start_from_itself() -> None:
    from m3csr_tf.config import load

    with pytest.raises(ConfigError, match=r"both '2026-11-24': a run starts from another one"):
        load(None, ["run.name=2026-11-24", "training.warm_start=2026-11-24"])


def test_nights_named_by_dates_make_versions_of_one_release(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from m3csr_tf.cli import app
    from m3csr_tf.config import load

    config = load(None, ["run.name=2026-11-24", "training.warm_start=2026-11-23", "run.release_name=feed"])
    assert config.run_folder == Path("runs/2026-11-24") and config.release_folder == Path("saved_models/feed")
    assert config.warm_start_folder == Path("runs/2026-11-23")
    assert load(None, ["run.name=2026-11-24"]).release_folder == Path("saved_models/2026-11-24")
    result = CliRunner().invoke(app, ["prepare", "--warm-start", "2026-11-23", f"run.folder={tmp_path}", "run.name=x"])
    assert result.exit_code == 2 and "training.warm_start=2026-11-23: there is no run in" in result.stderr
    assert json.dumps("2026-11-23") not in result.stderr and not any(tmp_path.iterdir())


def test_a_night_that_makes_things_worse_keeps_what_it_started_from(
    nights: Nights, night: Callable[..., Config]
) -> None:
    steps = nights.config.training.model_dump() | {"max_steps": 4, "evaluate_every": 2, "learning_rate": 3.0}
    worse = night("worse", "two", training=steps)
    fit(worse, prepare(worse))
    trained = load_trained(worse.run_folder)
    assert trained.finished["best_step"] == 0 and recalls(worse)[1:].max() < recalls(worse)[0]
    for kept, start in zip(trained.model.trainable_variables, nights.model.trainable_variables, strict=True):
        # Bin 0 is balanced anew between the weights of the night before and the first step.
        first = 1 if "popularity_bias" in start.name else 0
        np.testing.assert_array_equal(kept[first:], start[first:], err_msg=start.name)
