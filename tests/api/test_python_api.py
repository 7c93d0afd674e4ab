"""The Python API: frames in, frames out, the same results as the verbs, and their errors as exceptions."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import m3csr_tf as m3
from m3csr_tf.cli import app
from m3csr_tf.config import ColdConfig, WorldConfig, with_settings
from m3csr_tf.data.world import make_world
from m3csr_tf.errors import ConfigError, InputError, M3CSRError, ReleaseError, RunError

SETTINGS = {
    "model.dim": 8,
    "clusters.count": 8,
    "negatives.count": 32,
    "training.batch_size": 128,
    "training.max_steps": 20,
    "training.evaluate_every": 10,
    "evaluation.bootstrap": 0,
}


def world() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and a catalogue with content, as a user has them."""
    raw = make_world(WorldConfig(users=150, items=120, clicks=1500, modalities={"visual": 12, "acoustic": 5}))
    catalogue = raw.catalogue.frame[["item_id", "publish_time"]].copy()
    for name, vectors in raw.catalogue.content.items():
        catalogue[name] = [None if np.isnan(vector).all() else vector for vector in vectors]
    return raw.interactions[["user_id", "item_id", "timestamp"]], catalogue


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("python_api")


def train(place: Path, **others: Any) -> m3.Run:
    interactions, catalogue = world()
    given: dict[str, Any] = {"interactions": interactions, "catalogue": catalogue, "name": "tonight", "split": "time"}
    given |= {"modalities": ["visual", "acoustic"], "settings": SETTINGS | {"run.folder": place / "runs"}}
    return m3.train(**(given | others))


@pytest.fixture(scope="module")
def run(place: Path) -> m3.Run:
    """A trained run, shared: do not change it."""
    return train(place)


@pytest.fixture(scope="module")
def release(run: m3.Run, place: Path) -> m3.Release:
    """Its release, shared: do not change it."""
    return run.release(place / "saved_models" / "shorts")


@pytest.fixture
def fresh(release: m3.Release) -> pd.DataFrame:
    """A video that the release lacks, with the content of one that it has."""
    return world()[1].dropna().iloc[[0]].drop(columns="publish_time").assign(item_id="fresh")


def overrides(run: m3.Run, release: m3.Release) -> list[str]:
    """What the verbs need to find both."""
    config = ["--config", str(run.folder / "config.yaml")]
    return [*config, f"run.release_folder={release.folder.parent}", f"run.release_name={release.folder.name}"]


def test_a_run_is_what_the_verb_leaves_and_the_same_call_trains_nothing(run: m3.Run, place: Path) -> None:
    assert run.name == "tonight" and run.folder == place / "runs" / "tonight"
    assert run.config.model.dim == 8 and run.config.split.kind == "time"
    before = (run.folder / "finished.json").stat().st_mtime_ns
    train(place)
    assert (run.folder / "finished.json").stat().st_mtime_ns == before


def test_metrics_are_those_of_the_metrics_file(run: m3.Run) -> None:
    tree = json.loads((run.folder / "metrics.json").read_text()) if run.metrics is not None else {}
    frame = run.metrics.set_index(["split", "system", "slice"])
    assert set(run.metrics["system"]) == {"M3CSR", "popularity", "random"}
    for split in ("test", "val"):
        assert frame.loc[(split, "M3CSR", "all"), "recall@20"] == tree[split]["all"]["recall@20"]
        of_random = tree["baselines"]["random"][split]["all"]
        assert frame.loc[(split, "random", "all"), "ndcg@20"] == of_random["ndcg@20"]
        assert frame.loc[(split, "random", "all"), "users"] == of_random["users"]


def test_a_run_that_the_gate_refuses_is_published_anyway_if_asked(
    run: m3.Run, release: m3.Release, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(release.folder, tmp_path / "shorts"))
    (copy / "user_tower" / "1" / "saved_model.pb").write_bytes(b"cut")
    gated = m3.Run(with_settings(run.config, {"release.max_loss": 0.1}))
    with pytest.raises(ReleaseError, match="could not be compared with the current version's"):
        gated.release(copy)
    published = gated.release(copy, anyway=True)
    assert published.version == 2
    assert json.loads((copy / "manifest.json").read_text())["gate"]["overridden"] is True


def test_recommend_gives_the_lists_of_retrieve(run: m3.Run, release: m3.Release, tmp_path: Path) -> None:
    items = release.items["item_id"].tolist()
    users = pd.DataFrame({"user_id": ["u000", "stranger"], "history": [items[:3], []]})
    lists = release.recommend(users, n=7, block=items[5:9], cold_quota=0.2)
    users.to_parquet(tmp_path / "users.parquet")
    (tmp_path / "block.txt").write_text("\n".join(items[5:9]))
    arguments = [f"retrieve.users={tmp_path}/users.parquet", f"retrieve.output={tmp_path}/lists", "retrieve.top_n=7"]
    arguments += [f"retrieve.block={tmp_path}/block.txt", "retrieve.cold_quota=0.2"]
    done = CliRunner().invoke(app, ["retrieve", *overrides(run, release), *arguments])
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(lists, pd.read_parquet(tmp_path / "lists"))
    assert lists.groupby("user_id").size().to_dict() == {"u000": 7, "stranger": 7}
    assert list(lists.columns[:4]) == ["user_id", "rank", "item_id", "score"]


def test_without_histories_they_are_those_of_the_run_and_clicked_items_are_left_out(
    run: m3.Run, release: m3.Release
) -> None:
    lists = release.recommend(["u000", "u001"], n=5)
    clicks = world()[0].groupby("user_id")["item_id"].agg(set)
    for user, of_user in lists.groupby("user_id"):
        assert len(of_user) == 5 and not set(of_user["item_id"]) & clicks[user]
    opened = m3.open_release(release.folder, run=run.folder)
    pd.testing.assert_frame_equal(opened.recommend(pd.Series(["u000", "u001"]), n=5), lists)
    with pytest.raises(InputError, match="give users a column history, or open the release with that run"):
        m3.open_release(release.folder).recommend(["u000"])


def test_similar_gives_the_lists_of_the_verb(
    run: m3.Run, release: m3.Release, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    ids = release.items["item_id"].tolist()[:4]
    lists = release.similar(ids, n=3, by="content")
    pd.DataFrame({"item_id": ids}).to_csv(tmp_path / "ids.csv", index=False)
    arguments = [f"similar.items={tmp_path}/ids.csv", f"similar.output={tmp_path}/lists", "similar.top_n=3"]
    done = CliRunner().invoke(app, ["similar", *overrides(run, release), *arguments, "similar.by=content"])
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(lists, pd.read_parquet(tmp_path / "lists"))
    pd.testing.assert_frame_equal(
        release.similar(ids[0], n=3, by="content"), lists[lists["item_id"] == ids[0]].reset_index(drop=True)
    )
    twin = world()[1].dropna()["item_id"].iloc[0]
    assert release.similar(fresh, n=1, by="visual")["similar_item_id"].tolist() == [twin]


def test_items_that_have_no_list_are_counted_in_a_warning(
    release: m3.Release, caplog: pytest.LogCaptureFixture
) -> None:
    known = release.items["item_id"].tolist()[:2]
    assert set(release.similar([*known, "gone"], n=2)["item_id"]) == set(known)
    assert "similar: 1 of 3 items are unknown to the release and have no list" in caplog.text


def test_what_the_verb_says_of_lists_is_a_warning(release: m3.Release, caplog: pytest.LogCaptureFixture) -> None:
    items = release.items["item_id"].tolist()
    users = pd.DataFrame({"user_id": ["a", "b"], "history": [["gone"], [items[0], "lost"]]})
    lists = release.recommend(users, n=3, allow=items[:2])
    assert len(lists) == 3  # All of two for a; for b, what she has clicked is left out.
    assert "2 of 3 ids of histories and exclusions" in caplog.text and "most users are unknown" in caplog.text
    assert "recommend: 2 of 2 lists are shorter than 3" in caplog.text
    caplog.clear()
    assert release.similar([items[0]], n=3, allow=[items[0]]).empty
    assert "similar: 1 of 1 lists are shorter than 3" in caplog.text


def test_explain_gives_what_the_verb_prints(run: m3.Run, release: m3.Release) -> None:
    items = release.items["item_id"].tolist()
    frame = release.explain("u000", items[0], [items[1], items[2]])
    arguments = ["--user", "u000", "--item", items[0], "--history", f"{items[1]},{items[2]}", "--json"]
    said = json.loads(CliRunner().invoke(app, ["explain", *overrides(run, release), *arguments]).stdout)
    assert frame.attrs["explanation"] == said
    assert frame["score"].to_dict() == said["parts"]
    assert frame["intensity"].dropna().to_dict() == said["intensities"]
    assert frame.loc["id", "attention"] == {one["item"]: one["weight"] for one in said["attention"]["id"]}
    assert set(release.explain("u000", items[0]).attrs["explanation"]["user"]["history"]) <= set(items)


def test_refresh_takes_in_a_video_which_other_openings_then_find(
    run: m3.Run, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    mine = run.release(tmp_path / "saved_models" / "mine")
    other = m3.open_release(mine.folder)
    before = len(other.items)
    done = mine.refresh(fresh.assign(view_count=3))
    assert done[["new", "changed", "removed", "items"]].to_dict("records") == [
        {"new": 1, "changed": 0, "removed": 0, "items": before + 1}
    ]
    assert other.items.set_index("item_id").loc["fresh", "view_count"] == 3
    assert other.refresh(removed=["fresh", "never"])[["removed", "absent"]].to_dict("records") == [
        {"removed": 1, "absent": 1}
    ]
    assert len(mine.items) == before and mine.version == 1
    run.release(mine.folder, again=True)
    pinned = m3.open_release(mine.folder, version=1)
    assert (mine.version, pinned.version) == (2, 1)
    with pytest.raises(ReleaseError, match="version 1 is not the current one any more"):
        pinned.refresh(fresh)


def test_frames_come_with_categories_a_named_index_and_dates(place: Path) -> None:
    interactions, catalogue = world()
    interactions = interactions.assign(
        user_id=interactions["user_id"].astype("category"),
        timestamp=pd.to_datetime(interactions["timestamp"], unit="s"),
    )
    given = {"interactions": interactions, "catalogue": catalogue.set_index("item_id"), "name": "other"}
    found = train(place, **given, modalities={"look": "visual"})
    assert found.config.data.modalities == {"look": "visual"}
    assert len(pd.read_parquet(found.folder / "prepared" / "items.parquet")) == 120


def frames() -> dict[str, Any]:
    """What is wrong with a training -> what is given, the error, and a part of its message."""
    interactions, catalogue = world()
    both = {"interactions": interactions, "catalogue": catalogue}
    narrow = catalogue.copy()
    narrow["visual"] = [vector if place else np.ones(3) for place, vector in enumerate(catalogue["visual"])]
    mixed = interactions.assign(user_id=[7, *interactions["user_id"][1:]])
    return {
        "no catalogue": ({"catalogue": None}, InputError, "train: catalogue is missing"),
        "no modalities": (both | {"modalities": None}, InputError, "train: modalities is missing"),
        "modalities as a text": (both | {"modalities": "visual"}, InputError, "expected a list of columns"),
        "modality twice": (both | {"modalities": ["visual", "visual"]}, InputError, "names 'visual' twice"),
        "unknown column": (both | {"modalities": ["smell"]}, InputError, "column smell of modality smell is missing"),
        "no frame": (
            {"interactions": [1, 2]},
            InputError,
            r"interactions: got \[1, 2\], of type list; expected a",
        ),
        "no user_id": ({"interactions": interactions[["item_id"]]}, InputError, "column user_id is missing"),
        "kinds of ids": ({"interactions": mixed}, InputError, "interactions: column 'user_id' cannot be stored"),
        "width": ({"catalogue": narrow}, InputError, "visual"),
        "split": ({"split": "monthly"}, ConfigError, "split.kind"),
        "setting": ({"settings": {"training.speed": 3}}, ConfigError, "training.speed"),
        "given twice": (
            {"settings": {"run.name": "a"}},
            ConfigError,
            "train: run.name is given in settings and beside",
        ),
        "settings": ({"settings": {3: 3}}, ConfigError, "train: settings is .*; expected a mapping of dotted names"),
        "config": ({"config": 5}, InputError, "train: config: got 5; expected a path"),
        "value": ({"settings": {"training.epochs": object()}}, ConfigError, "a setting is a text, a number"),
        "name": ({"name": "../x"}, ConfigError, "run.name"),
    }


@pytest.mark.parametrize(
    "what",
    [
        "no catalogue",
        "no modalities",
        "modalities as a text",
        "modality twice",
        "unknown column",
        "no frame",
        "no user_id",
        "kinds of ids",
        "width",
        "split",
        "setting",
        "given twice",
        "settings",
        "config",
        "value",
        "name",
    ],
)
def test_a_training_that_cannot_be_is_one_error_and_leaves_no_run(what: str, tmp_path: Path) -> None:
    given, kind, message = frames()[what]
    given["settings"] = SETTINGS | {"run.folder": tmp_path / "runs"} | given.get("settings", {})
    with pytest.raises(kind, match=message) as caught:
        train(tmp_path, **({"name": "wrong"} | given))
    assert isinstance(caught.value, M3CSRError) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("prepared")) and not list(tmp_path.rglob("*.parquet*"))


def test_other_frames_under_the_name_of_a_run_are_refused(run: m3.Run, place: Path) -> None:
    with pytest.raises(RunError, match="input files or library versions have changed since this run was trained"):
        train(place, interactions=world()[0].iloc[:-1])
    left = sorted(path.name for path in (place / "runs" / "tonight-input").iterdir())
    assert left == ["catalogue.parquet", "interactions.parquet"]
    # The run's own frames are where they were, so that it can be trained and evaluated as before.
    evaluated = CliRunner().invoke(app, ["train", "--config", str(run.folder / "config.yaml")])
    assert evaluated.exit_code == 0, evaluated.output


def test_misuse_of_a_release_is_one_error_that_speaks_of_frames(
    run: m3.Run, release: m3.Release, fresh: pd.DataFrame
) -> None:
    items = release.items["item_id"].tolist()
    twice = pd.DataFrame({"user_id": ["a", "a"], "history": [[], []]})
    with_typo = pd.DataFrame({"user_id": ["a"], "histories": [[]]})
    for wrong, message in (
        (lambda: release.recommend(twice), "users: user_id in data row 2 is 'a', which data row 1 has too"),
        (lambda: release.recommend("u000"), "users: got 'u000'; expected a frame with user_id"),
        (
            lambda: release.recommend(with_typo.assign(history=[[]])),
            "users: column 'histories' is none of a users file",
        ),
        (lambda: release.recommend(twice[:1], n=0), "retrieve.top_n"),
        (lambda: release.recommend(twice[:1], only="warm"), "retrieve.only"),
        (lambda: release.recommend(twice[:1], allow=["gone"]), "allow: none of the 1 ids of retrieve.allow is known"),
        (lambda: release.recommend(twice[:1], block="v1"), "block: got 'v1'; expected a list of item ids"),
        (lambda: release.recommend(twice[:1], block=items), "none of the 120 items is left"),
        (lambda: release.similar(["gone"]), "items: none of the 1 ids of similar.items is known"),
        (lambda: release.similar(items[:1], by="smell"), "similar.by is 'smell'"),
        (lambda: release.similar(fresh.drop(columns="visual")), "items: column visual is missing"),
        (lambda: release.explain("u000", "gone", []), "item 'gone' is not in version 1"),
        (lambda: release.explain("", items[0], []), "explain: user is ''; expected its id"),
        (lambda: release.explain("u000", items[0], items[0]), "history: got '.*'; expected a list of item ids"),
        (lambda: release.refresh(), "refresh: nothing to do"),
        (lambda: release.refresh(fresh[["item_id"]]), "items: nothing is said of the items beside their ids"),
        (lambda: release.refresh(removed="v1"), "removed: got 'v1'; expected a list of item ids"),
        (lambda: release.refresh(removed=5), "removed: got 5; expected a list of item ids"),
        # As a list, a frame or a mapping is its names.
        (
            lambda: release.refresh(removed=fresh),
            "removed: got a frame with the columns item_id, visual, acoustic; exp",
        ),
        (lambda: release.similar(items[:1], block=fresh), "block: got a frame with the columns item_id"),
        (lambda: release.similar({items[0]: 1}), "items: got {'v000': 1}; expected a list of item ids"),
        (lambda: release.recommend({"u000": 1}), "users: got {'u000': 1}; expected a frame with user_id"),
        (lambda: release.explain("u000", items[0], 5), "explain: history: got 5; expected a list of item ids"),
        (lambda: release.explain("u000", items[0], {"v1": 1}), "explain: history: got {'v1': 1}; expected a list of"),
        (lambda: m3.open_release("saved_models/nothing"), "nothing"),
        (lambda: m3.open_release(5), "open_release: folder: got 5; expected a path"),
        (lambda: m3.open_release(release.folder, version="1"), "version is '1'; expected a whole number"),
        (lambda: m3.open_release(release.folder, run=release), "open_release: run: got .*; expected a path"),
        (lambda: run.release(5), "release: folder: got 5; expected a path"),
    ):
        with pytest.raises(M3CSRError, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value) and "m3csr_tf-" not in str(caught.value)
    assert len(release.items) == 120


def test_a_final_fit_is_released_while_the_metrics_stay_those_of_the_choice(run: m3.Run, place: Path) -> None:
    fitted = train(place, final_fit=True)
    assert fitted.folder == run.folder and (place / "runs" / "tonight-final" / "finished.json").exists()
    released = fitted.release(place / "saved_models" / "of_final_fit")
    manifest = json.loads((released.folder / "manifest.json").read_text())
    assert manifest["run"] == "tonight-final" and manifest["final_fit"]["run"] == "tonight"
    interactions, _ = world()
    users = interactions["user_id"].unique()[:5].tolist()
    listed = released.recommend(users, n=20)
    clicked = set(zip(interactions["user_id"], interactions["item_id"], strict=True))
    assert {*listed["user_id"]} == {*users}
    assert not clicked & set(zip(listed["user_id"], listed["item_id"], strict=True))


def test_cold_items_are_those_that_the_version_was_released_with(release: m3.Release, run: m3.Run) -> None:
    """Whether or not the run is at hand, whose own settings may be others."""
    from m3csr_tf.releases.release import open_release

    opened = open_release(release.folder)
    opened.manifest["config"]["cold"] = {"max_views": 3}
    asked_for_others = with_settings(run.config, {"cold.max_views": 10**9})
    alone, with_run = (m3.Release(opened, config, follows=False).items for config in (None, asked_for_others))
    few = opened.items.is_cold(opened.items.ids, ColdConfig(max_views=3), 0.0)
    assert 0 < few.sum() < len(few)
    assert alone["is_cold"].tolist() == with_run["is_cold"].tolist() == few.tolist()


def test_cold_items_by_age_at_a_time_are_those_of_the_frames(release: m3.Release) -> None:
    items = release.items
    now = datetime(2023, 12, 1, tzinfo=UTC)
    cold = set(items["item_id"][now.timestamp() - items["publish_time"] <= 96 * 3600])
    assert 0 < len(cold) < len(items)
    asked: dict[str, Any] = {"n": 200, "only": "cold", "cold": {"max_age_hours": 96}, "now": now}
    users = pd.DataFrame({"user_id": ["u"], "history": [[]]})
    assert set(release.recommend(users, **asked)["item_id"]) == cold
    assert set(release.similar(sorted(cold)[:2], **asked)["similar_item_id"]) == cold
    with pytest.raises(ConfigError, match=r"cold\.max_age"):
        release.recommend(users, cold={"max_age": 1})
    with pytest.raises(ConfigError, match=r"retrieve\.now must be .*, got .*tomorrow"):
        release.recommend(users, now="tomorrow")
