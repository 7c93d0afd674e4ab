"""What every model must do (`models.contract.Recommender`), tested on a small world whose right answer is known.

In the block world each user belongs to one of eight groups and clicks items of her group alone. A model that has found
the groups puts all that is left of hers into a list of 20, so her Recall@20 is 1; the content of an item says its group
as well, so that models without ids can find it too.

`test_contract.py` runs these tests for every kind of the registry. A model from elsewhere inherits them: subclass
`ContractTests` with a fixture `kind`, of class scope, whose kind is registered.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.batch.embedding import embed
from m3csr_tf.batch.items import FileOfItems
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import Config, EmbedConfig, RetrieveConfig
from m3csr_tf.config.models import section_of
from m3csr_tf.data.audience import Audience, read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, InputError
from m3csr_tf.evaluation.metrics import per_user
from m3csr_tf.explain import explain_pair
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.models.registry import MODELS, build_model, model_class
from m3csr_tf.prepare import prepare
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.releases.publish import publish
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import fit as fitting
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.training.vectors import VectorEncoder
from m3csr_tf.verbs.ablations import ablations
from m3csr_tf.verbs.evaluate import evaluate_run
from m3csr_tf.verbs.explain import print_explanation
from m3csr_tf.verbs.frontier import frontier

GROUPS, USERS, ITEMS, CLICKS = 8, 10, 16, 11
"""Groups; users and items of each; clicks of each user: one for validation, one for test, the others for training."""
UNCLICKED = ITEMS - 1
"""The item of each group that nobody clicks: it is new to every model."""
AT = 20
NAME = "block"

STEPS = 120
TRAINING: dict[str, Any] = {"batch_size": 64, "learning_rate": 0.02, "max_steps": STEPS, "patience": STEPS}


def user_id(group: int, user: int) -> str:
    return f"u{group}-{user}"


def item_id(group: int, item: int) -> str:
    return f"i{group}-{item}"


def write_block_world(folder: Path) -> None:
    """Writes the logs in the layout "table": users draw their clicks among the clicked items of their group."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = [
        (user_id(group, user), item_id(group, int(item)), split)
        for group in range(GROUPS)
        for user in range(USERS)
        for item, split in zip(
            random.permutation(UNCLICKED)[:CLICKS], ["train"] * (CLICKS - 2) + ["val", "test"], strict=True
        )
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "split"]).to_parquet(folder / "interactions.parquet")
    items = [(group, item) for group in range(GROUPS) for item in range(ITEMS)]
    catalogue: dict[str, Any] = {"item_id": [item_id(*one) for one in items]}
    for name, width in (("clip", 12), ("sound", 6)):
        of_groups = random.normal(size=(GROUPS, width))
        noise = 0.3 * random.normal(size=(len(items), width))
        catalogue[name] = list((of_groups[[group for group, _ in items]] + noise).astype(np.float32))
    pd.DataFrame(catalogue).to_parquet(folder / "catalogue.parquet")


def small_config(kind: str, folder: Path, **training: Any) -> Config:
    """Settings of a small model of a kind on the block world; the recipe of the kind holds but for the speed."""
    section = section_of(kind)
    assert section is not None, kind
    widths = {name for name in section.model_fields if name == "dim" or name.endswith("_dim")}
    return Config.model_validate(
        {
            "run": {"name": NAME, "folder": folder / "runs", "release_folder": folder / "saved_models", "threads": 1},
            "data": {
                "format": "table",
                "path": folder / "logs",
                "modalities": {"visual": "clip", "acoustic": "sound"},
            },
            "split": {"kind": "given"},
            "clusters": {"count": GROUPS},
            "history": {"length": CLICKS},
            "model": {"kind": kind} | dict.fromkeys(widths, 16),
            "training": TRAINING | {"evaluate_every": STEPS // 2} | training,
            "index": {"kind": "exact"},
        }
    )


@dataclass(frozen=True)
class Case:
    """A model of one kind, trained on the block world, and its release; not to be changed.

    Attributes:
      trained: the finished run, as it is opened.
    """

    trained: TrainedRun

    @property
    def config(self) -> Config:
        return self.trained.config

    @property
    def prepared(self) -> Prepared:
        return self.trained.prepared

    @property
    def model(self) -> Any:
        return self.trained.model

    @cached_property
    def data(self) -> TrainingData:
        return TrainingData.of(self.prepared, self.config, self.model.needs_item_graph(self.config))

    @cached_property
    def encoder(self) -> VectorEncoder:
        return VectorEncoder(self.model, self.data.features)

    @cached_property
    def histories(self) -> np.ndarray:
        """Training histories of all user rows, int32 [users, slots]."""
        rows = np.arange(len(self.prepared.users))
        return Audience(self.prepared, self.config, (columns.TRAIN,)).histories(rows)

    @cached_property
    def user_vectors(self) -> np.ndarray:
        """Of all user rows, float32 [users, D]."""
        return self.encoder.users(np.arange(len(self.prepared.users)), self.histories)

    @cached_property
    def item_vectors(self) -> np.ndarray:
        """Of all item rows, float32 [items, D]; zeros in the reserved ones."""
        return self.encoder.items()

    @cached_property
    def release(self) -> Release:
        return publish(self.trained)

    @cached_property
    def unclicked(self) -> np.ndarray:
        """Rows of the items without a training click."""
        found = np.flatnonzero(~self.data.trained)
        return found[found >= FIRST_ROW]

    def item_features(self, rows: Sequence[int]) -> dict[str, tf.Tensor]:
        return {name: tf.gather(values, list(rows)) for name, values in self.data.features.items()}

    def recall(self, split: str) -> float:
        """Mean Recall@20 of a split's users, by training histories, what they clicked in training masked."""
        users = users_with(self.prepared, split)
        ranked = top_n(
            self.user_vectors[users],
            self.item_vectors,
            AT,
            seen=read_clicks(self.prepared, columns.TRAIN, users),
            candidates=np.arange(len(self.prepared.items)) >= FIRST_ROW,
        )
        return float(per_user(ranked, read_clicks(self.prepared, split, users), [AT])[f"recall@{AT}"].mean())


SERVED = """
import sys
import numpy as np
import tensorflow as tf

for line in sys.stdin:
    folder = line.strip()
    item_tower, user_tower = (tf.saved_model.load(f"{folder}/{part}/1") for part in ("item_tower", "user_tower"))
    asked = np.load(f"{folder}-asked.npz")
    texts = ("item_id", "user_id", "history")
    tensors = {name: tf.constant(asked[name].tolist() if name in texts else asked[name]) for name in asked}
    of_items = {name: value for name, value in tensors.items() if name not in ("user_id", "history")}
    items = item_tower.signatures["serving_default"](**of_items)["item_vector"]
    users = user_tower.signatures["serving_default"](user_id=tensors["user_id"], history=tensors["history"])
    np.savez(f"{folder}-answer.npz", items=items, users=users["user_vector"])
    print("served", "m3csr_tf" in sys.modules, flush=True)
"""


class Served:
    """A process that knows TensorFlow alone and answers by the SavedModels of releases."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def vectors(self, folder: Path, asked: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Item and user vectors of what a release's first version is asked."""
        np.savez(f"{folder}-asked.npz", **asked)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "served False\n"
        answer = np.load(f"{folder}-answer.npz")
        return answer["items"], answer["users"]

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    process = Served()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def block_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the logs in `logs`, prepared once, in `runs/<NAME>/prepared`: not to be changed."""
    folder = tmp_path_factory.mktemp("block_world")
    write_block_world(folder / "logs")
    prepare(small_config("bpr_mf", folder))
    return folder


@pytest.fixture(scope="class")
def case(kind: str, block_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The trained model of the kind; the run was never stopped."""
    folder = Path(shutil.copytree(block_world, tmp_path_factory.mktemp(kind) / "world"))
    config = small_config(kind, folder)
    fit(config, prepare(config))
    return Case(load_trained(config.run_folder))


class ContractTests:
    """The tests; a subclass has the fixture `kind`."""

    def test_it_is_called_what_the_settings_call_it(self, kind: str, case: Case) -> None:
        assert case.config.model.kind == kind
        assert case.model.kind == kind or kind not in MODELS
        assert case.model.title and case.release.model_title == case.model.title

    def test_it_learns_the_groups(self, case: Case) -> None:
        # Of 128 items a user has clicked 9 in training: a list of 20 at random holds a share of 20 / 119 = 0.17 of her
        # other clicks. Of her group 7 are left, so a list that knows the group of every user holds all of them; 0.8 is
        # reached by one that knows the groups of at least three users of four (0.75 + 0.25 * 0.17 = 0.79).
        assert case.recall(columns.VAL) > 0.8 and case.recall(columns.TEST) > 0.8

    def test_a_user_that_training_has_not_seen_is_known_by_her_history(self, case: Case) -> None:
        # Three clicks of each group; the 12 other items of the group that somebody has clicked are the right answer.
        clicked = [[item_id(group, item) for item in range(3)] for group in range(GROUPS)]
        histories = np.stack([case.prepared.items.rows(np.array(ids, object)) for ids in clicked])
        users = case.encoder.users(np.full(GROUPS, UNKNOWN_ROW), histories)
        scores = users @ case.item_vectors.T
        scores[:, :FIRST_ROW] = -np.inf
        np.put_along_axis(scores, histories, -np.inf, axis=1)
        lists = np.argsort(-scores, axis=1)[:, :12]
        groups = np.array([int(one[1 : one.index("-")]) for one in case.prepared.items.known])
        right = (groups[lists - FIRST_ROW] == np.arange(GROUPS)[:, np.newaxis]).mean()
        assert right > 0.75  # At random, 13 / 125 = 0.10.

    def test_vectors_are_as_wide_as_the_layout_whose_parts_fill_them(self, case: Case) -> None:
        end = 0
        for place in case.model.layout.values():
            assert place.start == end and place.stop > place.start and place.step in (None, 1)
            end = place.stop
        assert case.user_vectors.shape == (len(case.prepared.users), end)
        assert case.item_vectors.shape == (len(case.prepared.items), end)
        assert case.user_vectors.dtype == case.item_vectors.dtype == np.float32

    def test_a_batch_gives_what_each_gives_alone(self, case: Case) -> None:
        rows = [UNKNOWN_ROW, *range(FIRST_ROW, FIRST_ROW + 6), int(case.unclicked[0])]
        alone = [case.model.item_tower(case.item_features([row]))[0] for row in rows]
        np.testing.assert_allclose(case.model.item_tower(case.item_features(rows)), alone, atol=1e-5)
        users = np.array([UNKNOWN_ROW, *range(FIRST_ROW, FIRST_ROW + 6), UNKNOWN_ROW])
        histories = np.concatenate([case.histories[[FIRST_ROW + 9, *users[1:-1]]], case.histories[:1]])
        histories[2] = PADDING_ROW
        alone = [case.encoder.users(users[[one]], histories[[one]])[0] for one in range(len(users))]
        np.testing.assert_allclose(case.encoder.users(users, histories), alone, atol=1e-5)

    def test_no_history_is_an_ordinary_one(self, case: Case) -> None:
        users = np.array([UNKNOWN_ROW, FIRST_ROW])
        none = case.encoder.users(users, np.zeros([2, 0], np.int32))
        assert np.isfinite(none).all()
        np.testing.assert_allclose(case.encoder.users(users, np.full([2, 4], PADDING_ROW)), none, atol=1e-6)
        # Straight to the tower too: empty slots beside an item that nobody's slot names.
        features = case.item_features([FIRST_ROW]) | {
            columns.USER_ROW: case.model.table_rows(tf.constant(users, tf.int32)),
            columns.SLOTS: tf.fill([2, 3], -1),
        }
        np.testing.assert_allclose(case.model.user_tower(features), none, atol=1e-6)

    def test_an_item_without_a_training_click_has_the_vector_of_a_new_one(self, case: Case) -> None:
        assert len(case.unclicked) == GROUPS
        features = case.item_features(case.unclicked)
        own = case.model.item_tower(features).numpy()
        new = case.model.item_tower(features | {columns.ITEM_ROW: tf.fill([GROUPS], UNKNOWN_ROW)}).numpy()
        assert np.isfinite(own).all() and np.isfinite(new).all()
        distinct = len(np.unique(own.round(5), axis=0))
        if case.model.places_new_items:
            np.testing.assert_allclose(new, own, atol=1e-6)
            assert distinct == GROUPS
        elif distinct == 1:  # All read the row of unknown items.
            np.testing.assert_allclose(new, own, atol=1e-6)
        else:  # Tables may hold what content says of the items of the training, but of no others.
            assert distinct == GROUPS and len(np.unique(new, axis=0)) == 1

    def test_asking_twice_gives_the_same(self, case: Case) -> None:
        case.encoder.refresh()
        np.testing.assert_array_equal(case.encoder.items(), case.item_vectors)

    @pytest.mark.parametrize("negatives", ["uniform", "shared", "in_batch"])
    def test_the_loss_of_a_batch_is_one_finite_number_that_moves_weights(self, negatives: str, case: Case) -> None:
        tree = case.config.model_dump() | {"negatives": {"kind": negatives, "count": 32}}
        config = Config.model_validate(tree)
        model = build_model(config, case.prepared)
        batch = ExampleStream(case.data, config, model.collator(case.data)).batch(tf.constant(3, tf.int64))
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        assert loss.shape == [] and np.isfinite(loss)
        gradients = [one for one in tape.gradient(loss, model.trainable_variables) if one is not None]
        assert gradients and all(np.isfinite(tf.convert_to_tensor(one)).all() for one in gradients)
        assert any(np.any(tf.convert_to_tensor(one)) for one in gradients)

    def test_the_size_of_its_tables_grows_with_users_and_items(self, case: Case) -> None:
        entries = model_class(case.config.model).table_entries
        few, more = entries(case.config, 10, 10), entries(case.config, 1000, 1000)
        assert isinstance(few, int) and 0 <= few <= more

    def test_its_diagnostics_are_numbers(self, case: Case) -> None:
        intensities = None
        if case.model.weighs_modalities:
            intensities = case.encoder.intensities(np.arange(len(case.prepared.users)), case.histories)
            np.testing.assert_allclose(intensities.sum(axis=1), 1, atol=1e-5)
        assert np.isfinite(list(case.model.diagnostics(intensities).values())).all()

    def test_a_popularity_bias_is_the_last_entry_of_the_item_vectors(self, case: Case) -> None:
        bias = case.model.popularity_bias
        if bias is None:
            return
        rows = [FIRST_ROW, int(case.unclicked[0])]
        before, kept = case.model.item_tower(case.item_features(rows)).numpy(), bias.numpy()
        try:
            bias.assign_add(tf.ones_like(bias))
            after = case.model.item_tower(case.item_features(rows)).numpy()
        finally:
            bias.assign(kept)
        expected = np.zeros_like(before)
        expected[:, -1] = 1
        np.testing.assert_allclose(after - before, expected, atol=1e-5)
        np.testing.assert_allclose(case.user_vectors[FIRST_ROW:, -1], 1, atol=1e-5)

    def test_a_run_opens_with_the_weights_that_were_validated(self, case: Case) -> None:
        assert case.recall(columns.VAL) == pytest.approx(case.trained.finished["recall@20"], abs=1e-6)

    def test_a_run_that_was_stopped_ends_where_an_uninterrupted_one_ends(
        self, kind: str, block_world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        if os.environ.get("TF_NUM_INTRAOP_THREADS") != "1":
            pytest.skip("several threads add the parts of a sum in any order: this runs in a process of one thread")
        whole = small_config(kind, Path(shutil.copytree(block_world, tmp_path / "whole")))
        elsewhere = whole.run.model_copy(update={"folder": tmp_path / "stopped"})
        stopped = whole.model_copy(update={"run": elsewhere})
        take, calls = fitting.take_steps, []

        def watched(*arguments: Any) -> tf.Tensor:
            calls.append(arguments)
            if len(calls) == STEPS // 2 // 20 + 2:  # In the second half, of 20 steps a call; the first half is kept.
                # What a run that is killed here leaves behind; the other goes on.
                shutil.copytree(whole.run_folder, stopped.run_folder)
            return take(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(fitting, "take_steps", watched)
            fit(whole, prepare(whole))
        assert len(calls) == STEPS // 20 and not (stopped.run_folder / run_files.FINISHED_FILE).exists()
        assert runs.latest_checkpoint(stopped.run_folder).name == f"training-{STEPS // 2}"
        fit(stopped, Prepared.open(stopped.run_folder / run_files.PREPARED_FOLDER))
        states = [last_state(one.run_folder) for one in (whole, stopped)]
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            np.testing.assert_array_equal(value, states[1][name], err_msg=name)

    def test_a_run_that_goes_on_from_another_starts_with_its_vectors(self, case: Case) -> None:
        model = build_model(case.config, case.prepared)
        model.continue_from(case.trained, case.data, case.prepared)
        encoder = VectorEncoder(model, case.data.features)
        np.testing.assert_allclose(encoder.items(), case.item_vectors, atol=1e-5)
        rows = np.arange(len(case.prepared.users))
        np.testing.assert_allclose(encoder.users(rows, case.histories), case.user_vectors, atol=1e-5)

    def test_a_released_pair_of_towers_gives_the_same_vectors_to_whoever_has_tensorflow_alone(
        self, case: Case, served: Served
    ) -> None:
        prepared = case.prepared
        content = {name: np.asarray(raw)[FIRST_ROW:] for name, raw in prepared.content.items()}
        padded = [
            [str(one) for one in prepared.items.ids(line[line != PADDING_ROW])]
            + [""] * int((line == PADDING_ROW).sum())
            for line in case.histories[FIRST_ROW:]
        ]
        asked = {
            columns.ITEM_ID: np.asarray(prepared.items.known, str),
            columns.VIEW_COUNT: np.full(len(prepared.items.known), -1, np.int64),
            columns.USER_ID: np.asarray([*prepared.users.known, "nobody", "nobody"], str),
            columns.HISTORY: np.asarray([*padded, padded[0], [""] * CLICKS], str),
            **content,
        }
        items, users = served.vectors(case.release.folder, asked)
        np.testing.assert_allclose(items, case.item_vectors[FIRST_ROW:], atol=1e-5)
        np.testing.assert_allclose(users[:-2], case.user_vectors[FIRST_ROW:], atol=1e-5)
        unknown = case.encoder.users(np.full(2, UNKNOWN_ROW), case.histories[[FIRST_ROW, PADDING_ROW]])
        np.testing.assert_allclose(users[-2:], unknown, atol=1e-5)

    def test_the_batch_job_lists_what_the_vectors_rank_first(self, case: Case, tmp_path: Path) -> None:
        ids = [*case.prepared.users.known[:5], "nobody", "nobody else"]
        lines = [*case.histories[FIRST_ROW : FIRST_ROW + 5], case.histories[FIRST_ROW + 6], case.histories[PADDING_ROW]]
        past = [list(case.prepared.items.ids(line[line != PADDING_ROW])) for line in lines]
        frame = pd.DataFrame({columns.USER_ID: ids, columns.HISTORY: past})
        frame.to_parquet(tmp_path / "users.parquet")
        retrieve(case.release, FileOfUsers(tmp_path / "users.parquet"), tmp_path / "lists", RetrieveConfig(top_n=AT))
        lists = pd.read_parquet(tmp_path / "lists")
        rows = case.prepared.users.rows(np.array(ids, object))
        scores = case.encoder.users(rows, np.stack(lines)) @ case.item_vectors.T
        assert len(lists) == AT * len(ids)
        for user, line in zip(ids, range(len(ids)), strict=True):
            own = lists[lists[columns.USER_ID] == user]
            listed = case.prepared.items.rows(own[columns.ITEM_ID].to_numpy(object))
            assert not np.isin(listed, lines[line]).any() and len(np.unique(listed)) == AT
            best = scores[line].copy()
            best[[*range(FIRST_ROW), *lines[line]]] = -np.inf
            # Places of equal scores may be exchanged, so scores are compared.
            np.testing.assert_allclose(scores[line, listed], np.sort(best)[::-1][:AT], atol=1e-4)
            np.testing.assert_allclose(own[columns.SCORE], scores[line, listed], atol=1e-4)
            parts = [own[f"part_{part}"] for part in case.model.layout]
            np.testing.assert_allclose(np.sum(parts, axis=0), own[columns.SCORE], atol=1e-4)

    def test_an_evaluation_names_it_and_has_intensities_if_it_has(self, case: Case) -> None:
        evaluated = evaluate_run(case.trained)[columns.TEST]
        assert evaluated[case.model.title]["all"].mean("recall@20") == pytest.approx(case.recall(columns.TEST), abs=0.1)
        written = json.loads((case.config.run_folder / run_files.METRICS_FILE).read_text())
        assert written["model"] == {"kind": case.config.model.kind, "title": case.model.title}
        assert case.model.title not in written["baselines"]
        assert ("intensity" in written) == case.model.weighs_modalities

    def test_an_explanation_splits_the_score_and_says_what_else_the_model_knows(
        self, case: Case, capsys: pytest.CaptureFixture
    ) -> None:
        user, item = case.prepared.users.known[3], case.prepared.items.known[5]
        line = case.histories[FIRST_ROW + 3]
        said = explain_pair(case.release, user, item, list(case.prepared.items.ids(line[line != PADDING_ROW])))
        score = case.user_vectors[FIRST_ROW + 3] @ case.item_vectors[FIRST_ROW + 5]
        assert list(said.parts) == list(case.model.layout)
        assert said.score == pytest.approx(score, abs=1e-4) == pytest.approx(sum(said.parts.values()), abs=1e-4)
        assert said.explains == case.model.explains and said.model == case.model.title
        if not case.model.explains:
            assert (said.intensities, said.attention, said.clusters, said.gate) == ({}, {}, {}, None)
            print_explanation(said)
            assert f"{case.model.title} has no intensities, gate or attention" in capsys.readouterr().out

    def test_what_a_model_cannot_do_is_refused_in_one_message(self, case: Case) -> None:
        if case.model.popularity_bias is None:
            with pytest.raises(ConfigError, match=f"{case.model.title} has no popularity bias"):
                frontier(case.config)
        if case.config.model.kind != "m3csr":
            with pytest.raises(ConfigError, match=f"model.kind={re.escape(case.config.model.kind)}.*M3CSR alone"):
                ablations(case.config, 1)

    def test_a_new_video_is_placed_by_its_content_or_refused_in_one_message(self, case: Case, tmp_path: Path) -> None:
        live = open_release(Path(shutil.copytree(case.release.folder, tmp_path / "release")))
        # The content of an item that nobody clicked, under another name.
        row = int(case.unclicked[0])
        content = {name: np.asarray(raw)[[row]] for name, raw in case.prepared.content.items()}
        frame = pd.DataFrame({columns.ITEM_ID: ["a minute old"]})
        if case.model.places_new_items:
            assert refresh(live, frame, content).new == 1
            np.testing.assert_allclose(live.index.vectors(["a minute old"])[0], case.item_vectors[row], atol=1e-5)
            return
        with pytest.raises(InputError, match=f"a minute old.*{case.model.title}") as refused:
            refresh(live, frame, content)
        assert "\n" not in str(refused.value)
        assert live.position == 0 and len(live.index) == len(case.prepared.items.known)
        # Nor is it embedded by a batch job, as the zeros of an item of which nothing is known.
        texts = {name: [vectors[0].tolist()] for name, vectors in content.items()}
        frame.assign(**texts).to_parquet(tmp_path / "items.parquet")
        items = FileOfItems(tmp_path / "items.parquet", {name: name for name in content}, live.modalities)
        with pytest.raises(InputError, match=f"items.parquet: item 'a minute old'.*{case.model.title}"):
            embed(live, items, tmp_path / "vectors", EmbedConfig())
        assert not (tmp_path / "vectors").exists()

    def test_new_content_of_a_clicked_item_moves_it_or_is_said_to_move_nothing(
        self, case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        live = open_release(Path(shutil.copytree(case.release.folder, tmp_path / "release")))
        clicked = np.flatnonzero(np.asarray(case.prepared.train_clicks) > 0)
        item = case.prepared.items.known[int(clicked[0]) - FIRST_ROW]
        before = live.index.vectors([item])[0]
        content = {name: np.full([1, width], 0.7, np.float32) for name, width in live.modalities.items()}
        refresh(live, pd.DataFrame({columns.ITEM_ID: [item]}), content)
        moved = not np.array_equal(live.index.vectors([item])[0], before)
        assert moved != (case.model.title in caplog.text)

    def test_views_and_removals_reach_a_live_release(self, case: Case, tmp_path: Path) -> None:
        live = open_release(Path(shutil.copytree(case.release.folder, tmp_path / "release")))
        ids = case.prepared.items.known[:2]
        done = refresh(live, pd.DataFrame({columns.ITEM_ID: ids, columns.VIEW_COUNT: [3, 10**6]}))
        assert (done.new, done.changed) == (0, 2)
        assert refresh(live, removed=[case.prepared.items.known[5]]).removed == 1
        assert len(live.index) == len(case.prepared.items.known) - 1


def last_state(folder: Path) -> dict[str, np.ndarray]:
    """Weights, moments and averages of a run's last checkpoint."""
    reader = tf.train.load_checkpoint(str(folder / run_files.CHECKPOINTS))
    names = [name for name in reader.get_variable_to_dtype_map() if not name.startswith(("state", "_CHECK"))]
    return {name: reader.get_tensor(name) for name in names if name != "save_counter/.ATTRIBUTES/VARIABLE_VALUE"}
