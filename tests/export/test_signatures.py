"""The released towers say what the Keras towers say, here and in a process that has TensorFlow alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW, IdTable

FRESH_PROCESS = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"m3csr_tf", "tensorflow_recommenders", "scann"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import numpy as np
import tensorflow as tf

folder, calls, answers = sys.argv[1:]
for call in json.load(open(calls)):
    given = dict(np.load(call["inputs"], allow_pickle=False))
    where, signature = folder + "/" + call["tower"], call["signature"]
    strings = {name for name, values in given.items() if values.dtype.kind == "U"}
    loaded = tf.saved_model.load(where)
    tensors = {name: tf.constant(values, tf.string if name in strings else None) for name, values in given.items()}
    [(output, value)] = loaded.signatures[signature](**tensors).items()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], where).signature_def[signature]
        feed = {meta.inputs[name].name: values.astype(object) if name in strings else values
                for name, values in given.items()}
        of_session = session.run(meta.outputs[output].name, feed)
    np.savez(answers + "/" + call["name"], output=output, loaded=value.numpy(), session=of_session)
print("m3csr_tf" in sys.modules)
"""


def item_inputs(prepared: Any, ids: list[str], views: list[int], content_of: list[int]) -> dict[str, np.ndarray]:
    """Inputs of the item tower, with the raw content of the item rows `content_of` (UNKNOWN_ROW: none at all)."""
    content = {name: np.array(raw[content_of]) for name, raw in prepared.content.items()}
    return {columns.ITEM_ID: np.array(ids), columns.VIEW_COUNT: np.array(views, np.int64), **content}


def keras_items(run: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The item tower on features made by the numpy code of training."""
    import tensorflow as tf

    prepared = run.prepared
    rows = np.maximum(prepared.items.rows(inputs[columns.ITEM_ID].astype(object)), UNKNOWN_ROW)
    views = inputs[columns.VIEW_COUNT]
    raw = {name: inputs[name] for name in prepared.modalities}
    scaled = {name: prepared.scaler.transform(name, values) for name, values in raw.items()}
    present = {name: ~np.isnan(values).any(axis=1) for name, values in raw.items()}
    features = {
        columns.ITEM_ROW: rows,
        columns.POPULARITY_BIN: np.where(views < 0, prepared.bins[rows], prepared.popularity.bin(views)),
        columns.CLUSTER_IDS: prepared.clusters.assign(scaled, present),
        **scaled,
    }
    return run.model.item_tower({name: tf.constant(values) for name, values in features.items()}).numpy()


def keras_user(run: Any, user: str, items: list[tuple[int, dict[str, np.ndarray]]]) -> np.ndarray:
    """The user tower on one user, whose history is of (item row, raw content) pairs."""
    import tensorflow as tf

    prepared = run.prepared
    names = prepared.modalities
    raw = {name: np.stack([content[name] for _, content in items]) for name in names} if items else {}
    scaled = {name: prepared.scaler.transform(name, values) for name, values in raw.items()}
    present = {name: ~np.isnan(values).any(axis=1) for name, values in raw.items()}
    if not items:
        scaled = {name: np.zeros([0, prepared.content[name].shape[1]], np.float32) for name in names}
    features = {
        columns.USER_ROW: prepared.users.rows([user]),
        columns.SLOTS: np.arange(len(items), dtype=np.int32)[np.newaxis],
        columns.ITEM_ROW: np.array([row for row, _ in items], np.int32),
        columns.CLUSTER_IDS: (
            prepared.clusters.assign(scaled, present) if items else np.zeros([0, len(names)], np.int32)
        ),
        **scaled,
    }
    return run.model.user_tower({name: tf.constant(values) for name, values in features.items()}).numpy()[0]


def of_row(prepared: Any, row: int) -> tuple[int, dict[str, np.ndarray]]:
    return row, {name: raw[row] for name, raw in prepared.content.items()}


@pytest.fixture(scope="module")
def signatures(release: Any) -> dict[str, Any]:
    import tensorflow as tf

    loaded = {part: tf.saved_model.load(str(release.path(part))) for part in (columns.ITEM_TOWER, columns.USER_TOWER)}
    return {
        "item": loaded[columns.ITEM_TOWER].signatures[columns.SERVING_DEFAULT],
        "user": loaded[columns.USER_TOWER].signatures[columns.SERVING_DEFAULT],
        "with_content": loaded[columns.USER_TOWER].signatures[columns.WITH_CONTENT],
        "loaded": loaded,  # The functions die with the object that they were loaded with.
    }


def call(signature: Any, **inputs: Any) -> np.ndarray:
    import tensorflow as tf

    tensors = {}
    for name, values in inputs.items():
        values = np.asarray(values)
        string = values.dtype.kind in "UO"
        tensors[name] = tf.constant(values.astype(object), tf.string, values.shape) if string else tf.constant(values)
    return next(iter(signature(**tensors).values())).numpy()


def test_a_fresh_process_without_this_package_gives_the_same_vectors(
    release: Any, untrained_run: Any, tmp_path: Path
) -> None:
    prepared = untrained_run.prepared
    rng = np.random.default_rng(1)
    known = rng.integers(FIRST_ROW, len(prepared.items), size=30)
    ids = [*prepared.items.ids(known), "published a minute ago", "another", ""]
    views = [*rng.choice([-1, 0, 1, 7, 10**12], size=30), -1, 40, -1]
    items = item_inputs(prepared, ids, views, [*known, *known[:2], UNKNOWN_ROW])

    users = [*prepared.users.known[:4], "a new user"]
    item_ids = prepared.items.known
    history = np.array(
        [
            [item_ids[3], item_ids[9], item_ids[4], ""],
            [item_ids[9], "unheard of", "", item_ids[3]],
            ["", "", "", ""],
            ["unheard of", "unheard of too", "", ""],
            [item_ids[7], "unheard of", "", "without content"],
        ]
    )
    content = {name: np.full([5, 4, raw.shape[1]], np.nan, np.float32) for name, raw in prepared.content.items()}
    fresh = {name: rng.normal(size=[3, raw.shape[1]]).astype(np.float32) for name, raw in prepared.content.items()}
    for name, values in content.items():
        values[1, 1] = values[3, 0] = values[4, 1] = fresh[name][0]
    content["acoustic"][3, 1] = fresh["acoustic"][1]
    with_content = {columns.history_feature(name): values for name, values in content.items()}
    inputs = {
        "items": (columns.ITEM_TOWER, columns.SERVING_DEFAULT, items),
        "users": (columns.USER_TOWER, columns.SERVING_DEFAULT, {"user_id": np.array(users), "history": history}),
        "content": (
            columns.USER_TOWER,
            columns.WITH_CONTENT,
            {"user_id": np.array(users), "history": history, **with_content},
        ),
    }
    calls = []
    for name, (tower, signature, given) in inputs.items():
        np.savez(tmp_path / f"{name}_in.npz", **given)
        tower = f"{tower}/{release.version}"
        calls.append({"name": name, "tower": tower, "signature": signature, "inputs": str(tmp_path / f"{name}_in.npz")})
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    command = [sys.executable, "-I", "-c", FRESH_PROCESS, str(release.folder), str(tmp_path / "calls.json"), "."]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "False"

    def row(position: int) -> tuple[int, dict[str, np.ndarray]]:
        return of_row(prepared, FIRST_ROW + position)

    new = (UNKNOWN_ROW, {name: values[0] for name, values in fresh.items()})
    only_sound = (
        UNKNOWN_ROW,
        {"visual": np.full_like(fresh["visual"][0], np.nan), "acoustic": fresh["acoustic"][1]},
    )
    pasts = {
        "users": [[row(3), row(9), row(4)], [row(9), row(3)], [], [], [row(7)]],
        "content": [[row(3), row(9), row(4)], [row(9), new, row(3)], [], [new, only_sound], [row(7), new]],
    }
    expected = {"items": keras_items(untrained_run, items)}
    for name, past in pasts.items():
        expected[name] = np.stack([keras_user(untrained_run, user, one) for user, one in zip(users, past, strict=True)])
    outputs = {"items": columns.ITEM_VECTOR, "users": columns.USER_VECTOR, "content": columns.USER_VECTOR}
    for name, vectors in expected.items():
        with np.load(tmp_path / f"{name}.npz") as answer:
            assert str(answer["output"]) == outputs[name]
            np.testing.assert_allclose(answer["loaded"], vectors, atol=1e-5)
            np.testing.assert_allclose(answer["session"], vectors, atol=1e-5)


def test_only_plain_ops_are_in_the_towers(release: Any) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    for part in (columns.ITEM_TOWER, columns.USER_TOWER):
        model = saved_model_pb2.SavedModel()
        model.ParseFromString((release.path(part) / "saved_model.pb").read_bytes())
        ops = {op.name for op in model.meta_graphs[0].meta_info_def.stripped_op_list.op}
        assert {"LookupTableFindV2", "MatMul"} <= ops
        assert not [op for op in ops if "PyFunc" in op or "Scann" in op or ">" in op]
        assert not (release.path(part) / "keras_metadata.pb").exists()


def test_a_known_item_without_a_view_count_has_the_bin_of_its_training(signatures: Any, untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    clicks = prepared.train_clicks
    row = int(np.argmax(clicks))
    [item] = prepared.items.ids(np.array([row]))
    views = [-1, int(clicks[row]), 0]
    vectors = call(signatures["item"], **item_inputs(prepared, [item] * 3, views, [row] * 3))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_a_new_item_without_a_view_count_is_like_one_without_views(signatures: Any, untrained_run: Any) -> None:
    inputs = item_inputs(untrained_run.prepared, ["new", "newer"], [-1, 0], [FIRST_ROW, FIRST_ROW])
    first, second = call(signatures["item"], **inputs)
    np.testing.assert_array_equal(first, second)


def test_the_content_given_is_the_content_used_for_known_items_too(
    signatures: Any, untrained_run: Any, release: Any
) -> None:
    prepared = untrained_run.prepared
    row = int(np.flatnonzero(~np.isnan(prepared.content["visual"]).any(axis=1))[0])
    [item] = prepared.items.ids(np.array([row]))
    whole = item_inputs(prepared, [item], [-1], [row])
    without = {**whole, "visual": np.full_like(whole["visual"], np.nan)}
    layout = release.layout
    [full], [partial] = call(signatures["item"], **whole), call(signatures["item"], **without)
    assert np.abs(full[layout["visual"]]).max() > 0
    assert (partial[layout["visual"]] == 0).all()
    np.testing.assert_array_equal(full[layout["id"]], partial[layout["id"]])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (3, 2), (0, 0)])
def test_no_users_no_slots_and_only_padding_are_ordinary(signatures: Any, untrained_run: Any, shape: tuple) -> None:
    users = untrained_run.prepared.users.known[: shape[0]]
    vectors = call(signatures["user"], user_id=users, history=np.full(shape, "", dtype=object))
    widths = {name: raw.shape[1] for name, raw in untrained_run.prepared.content.items()}
    content = {columns.history_feature(name): np.zeros([*shape, width], np.float32) for name, width in widths.items()}
    given = call(signatures["with_content"], user_id=users, history=np.full(shape, "", dtype=object), **content)
    np.testing.assert_allclose(given, vectors, atol=1e-6)
    assert len(vectors) == shape[0]
    for user, vector in zip(users, vectors, strict=True):
        np.testing.assert_allclose(vector, keras_user(untrained_run, user, []), atol=1e-5)


def test_no_items_is_an_ordinary_batch(signatures: Any, untrained_run: Any, release: Any) -> None:
    inputs = item_inputs(untrained_run.prepared, [], [], [])
    inputs[columns.ITEM_ID] = np.zeros([0], dtype=object)
    inputs |= {name: np.zeros([0, width], np.float32) for name, width in release.modalities.items()}
    assert call(signatures["item"], **inputs).shape == (0, release.index.width)


def test_padding_may_stand_anywhere_and_order_does_not_matter(signatures: Any, untrained_run: Any) -> None:
    a, b = untrained_run.prepared.items.known[:2]
    history = np.array([[a, b, ""], ["", b, a], [b, "nobody knows", a]], dtype=object)
    first, *others = call(signatures["user"], user_id=["u", "v", "w"], history=history)
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)


def test_the_table_wins_over_content_given_for_a_known_item(signatures: Any, untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    history = np.array([[prepared.items.known[5], prepared.items.known[6]]], dtype=object)
    content = {
        columns.history_feature(name): np.full([1, 2, raw.shape[1]], 9, np.float32)
        for name, raw in prepared.content.items()
    }
    given = call(signatures["with_content"], user_id=["u"], history=history, **content)
    np.testing.assert_allclose(given, call(signatures["user"], user_id=["u"], history=history), atol=1e-6)


def test_ids_with_line_breaks_cannot_be_served(tmp_path: Path) -> None:
    from m3csr_tf.export.lookup import IdLookup

    with pytest.raises(ReleaseError, match=r"'a\\nb' holds a line break"):
        IdLookup(IdTable(["fine", "a\nb"]), tmp_path / "items.txt")


def test_awkward_ids_are_looked_up_exactly(tmp_path: Path) -> None:
    import tensorflow as tf

    from m3csr_tf.export.lookup import IdLookup

    ids = [" leading", "trailing ", "tab\there", "ünï", "短视频", "a,b", '"quoted"', "\u2028", "0", "00"]
    rows = IdLookup(IdTable(ids), tmp_path / "ids.txt").rows(tf.constant([*ids, "", "leading", "000"]))
    assert rows.numpy().tolist() == [*range(FIRST_ROW, FIRST_ROW + 10), UNKNOWN_ROW, UNKNOWN_ROW, UNKNOWN_ROW]


@pytest.mark.parametrize("kind", ["joint", "per_modality"])
@pytest.mark.parametrize("scaling", ["none", "rms", "standard", "l2", "standard_l2", "whitened"])
def test_content_in_the_graph_equals_content_in_numpy(kind: Any, scaling: Any) -> None:
    import tensorflow as tf

    from m3csr_tf.export.content import ContentTransform

    rng = np.random.default_rng(3)
    raw = {name: rng.normal(2, 3, size=(200, width)).astype(np.float32) for name, width in (("a", 6), ("b", 4))}
    raw["a"][::7], raw["b"][::5], raw["a"][1] = np.nan, np.nan, 0
    scaler = ContentScaler.fit(scaling, raw, np.arange(150))
    scaled = {name: scaler.transform(name, values) for name, values in raw.items()}
    present = {name: ~np.isnan(values).any(axis=1) for name, values in raw.items()}
    clusters = Clusters.fit(kind, 9, scaled, present, np.arange(200) < 150)
    content = ContentTransform(scaler, clusters)({name: tf.constant(values) for name, values in raw.items()})
    for name, values in scaled.items():
        np.testing.assert_allclose(content.scaled[name], values, atol=1e-5)
    np.testing.assert_array_equal(content.cluster_ids, clusters.assign(scaled, present))


def explain_user(run: Any, signature: Any, user: str, history: list[str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    given = {
        columns.history_feature(name): tf.fill([1, len(history), raw.shape[1]], np.nan)
        for name, raw in run.prepared.content.items()
    }
    inputs = {
        columns.USER_ID: tf.constant([user]),
        columns.HISTORY: tf.constant([history], tf.string, [1, len(history)]),
    }
    return {name: answer.numpy() for name, answer in signature(**inputs, **given).items()}


def attention_by_hand(run: Any, user: str, history: list[int | None]) -> dict[str, np.ndarray]:
    """Equations 3 and 4 as printed, every slot projected: places of item rows, None where a place does not count."""
    import tensorflow as tf

    prepared, tower = run.prepared, run.model.user_tower
    rows = np.array([0 if row is None else row for row in history])
    features = {columns.ITEM_ROW: rows, columns.CLUSTER_IDS: prepared.cluster_ids[rows]}
    features |= {name: prepared.scaler.transform(name, raw[rows]) for name, raw in prepared.content.items()}
    encoded = tower.encoder({name: tf.constant(values) for name, values in features.items()})
    query = tower.user_embedding.numpy()[prepared.users.rows([user])[0]]
    weights = {}
    for position, part in enumerate(["id", *prepared.modalities], -1):
        layer = tower.behaviour_attention if part == "id" else tower.modal_attention[part]
        usable = np.array([row is not None for row in history])
        if part != "id":
            usable &= prepared.cluster_ids[rows, position] > 0
        keys = np.split(encoded[part].numpy() @ layer.key_kernel.numpy(), layer.heads, axis=1)
        queries = np.split(query @ layer.query_kernel.numpy(), layer.heads)
        of_heads = []
        for one, key in zip(queries, keys, strict=True):
            raised = np.exp(key @ one / np.sqrt(len(one))) * usable
            of_heads.append(raised / raised.sum() if usable.any() else raised)
        weights[part] = np.mean(of_heads, axis=0)
    return weights


@pytest.fixture(scope="module")
def without_gate(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two heads and no gate, its towers as they are served, and what these explain."""
    from m3csr_tf.export.signatures import ItemServing, UserServing

    folder = tmp_path_factory.mktemp("ungated")
    run = make_run(folder, model={"dim": 8, "heads": 2, "gate": False})
    item = ItemServing(run.model, run.prepared, folder)
    user = UserServing(run.model, run.prepared, folder)
    of_item, of_user = item.traced()[columns.EXPLAIN], user.traced()[columns.EXPLAIN]
    return run, of_item, lambda **inputs: of_user(inputs), (item, user)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_lies_on_the_places_of_the_history_that_count_and_is_that_of_the_layers(
    heads: int, signatures: Any, untrained_run: Any, without_gate: Any
) -> None:
    run = untrained_run if heads == 1 else without_gate[0]
    signature = signatures["loaded"][columns.USER_TOWER].signatures[columns.EXPLAIN] if heads == 1 else without_gate[2]
    prepared = run.prepared
    assert run.model.user_tower.behaviour_attention.heads == heads
    mute = FIRST_ROW + int(np.flatnonzero(np.isnan(prepared.content["acoustic"][FIRST_ROW:, 0]))[0])
    rows = [None, mute, 30, None, 30, 41, None]
    ids = ["" if row is None else prepared.items.ids(np.array([row]))[0] for row in rows]
    ids[3] = "nobody knows"
    user = prepared.users.known[7]
    answer = explain_user(run, signature, user, ids)
    for part, weights in attention_by_hand(run, user, rows).items():
        np.testing.assert_allclose(answer[columns.attention_output(part)][0], weights, atol=1e-5, err_msg=part)
        assert answer[columns.attention_output(part)].sum() == pytest.approx(1, abs=1e-5)
    assert answer["attention_acoustic"][0, 1] == 0 < answer["attention_id"][0, 1]
    assert answer["attention_id"][0, 2] == answer["attention_id"][0, 4] > 0


def test_users_are_explained_by_the_vector_and_the_intensities_of_the_tower(
    signatures: Any, untrained_run: Any
) -> None:
    import tensorflow as tf

    run, prepared = untrained_run, untrained_run.prepared
    signature = signatures["loaded"][columns.USER_TOWER].signatures[columns.EXPLAIN]
    rows = [20, 33, 54]
    answer = explain_user(run, signature, prepared.users.known[1], list(prepared.items.ids(np.array(rows))))
    vector = keras_user(run, prepared.users.known[1], [of_row(prepared, row) for row in rows])
    np.testing.assert_allclose(answer[columns.USER_VECTOR][0], vector, atol=1e-5)
    features = {columns.ITEM_ROW: np.array(rows), columns.CLUSTER_IDS: prepared.cluster_ids[rows]}
    features |= {columns.USER_ROW: np.array([FIRST_ROW + 1]), columns.SLOTS: np.arange(3, dtype=np.int32)[np.newaxis]}
    features |= {name: prepared.scaler.transform(name, raw[rows]) for name, raw in prepared.content.items()}
    expected = run.model.user_tower.intensities({name: tf.constant(values) for name, values in features.items()})
    np.testing.assert_allclose(answer[columns.INTENSITIES], expected, atol=1e-5)


@pytest.mark.parametrize("history", [[], ["", ""], ["nobody knows", ""]])
def test_a_history_of_nothing_has_no_attention(history: list[str], signatures: Any, untrained_run: Any) -> None:
    signature = signatures["loaded"][columns.USER_TOWER].signatures[columns.EXPLAIN]
    answer = explain_user(untrained_run, signature, "new", history)
    for part in ("id", *untrained_run.prepared.modalities):
        np.testing.assert_array_equal(answer[columns.attention_output(part)], np.zeros([1, len(history)]))
    np.testing.assert_allclose(answer[columns.USER_VECTOR][0], keras_user(untrained_run, "new", []), atol=1e-5)


def test_an_item_is_explained_by_its_gate_its_bin_and_its_clusters(signatures: Any, untrained_run: Any) -> None:
    import tensorflow as tf

    prepared, item_tower = untrained_run.prepared, untrained_run.model.item_tower
    rows = np.arange(FIRST_ROW, len(prepared.items))
    views = [-1] * (len(rows) - 1) + [10**6]
    inputs = item_inputs(prepared, list(prepared.items.ids(rows)), views, list(rows))
    signature = signatures["loaded"][columns.ITEM_TOWER].signatures[columns.EXPLAIN]
    answer = {
        name: value.numpy() for name, value in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }
    bins = [*prepared.bins[rows[:-1]], prepared.popularity.count - 1]
    assert answer[columns.POPULARITY_BIN].tolist() == bins and answer[columns.POPULARITY_BIN].dtype == np.int32
    np.testing.assert_array_equal(answer[columns.CLUSTER_IDS], prepared.cluster_ids[rows])
    np.testing.assert_allclose(answer[columns.GATE], item_tower.gate(tf.constant(bins))[:, 0], atol=1e-6)
    np.testing.assert_allclose(answer[columns.ITEM_VECTOR], keras_items(untrained_run, inputs), atol=1e-5)


def test_the_gate_of_an_id_that_training_has_not_seen_is_that_of_bin_0(signatures: Any, untrained_run: Any) -> None:
    import tensorflow as tf

    prepared, item_tower = untrained_run.prepared, untrained_run.model.item_tower
    inputs = item_inputs(prepared, ["brand new"], [10**6], [FIRST_ROW])
    signature = signatures["loaded"][columns.ITEM_TOWER].signatures[columns.EXPLAIN]
    answer = signature(**{name: tf.constant(values) for name, values in inputs.items()})
    assert answer[columns.POPULARITY_BIN].numpy().tolist() == [prepared.popularity.count - 1]
    np.testing.assert_allclose(answer[columns.GATE], item_tower.gate(tf.constant([0]))[:, 0], atol=1e-6)


def test_a_tower_without_a_gate_says_nothing_of_one(without_gate: Any) -> None:
    _, item, _, _ = without_gate
    assert set(item.structured_outputs) == {columns.ITEM_VECTOR, columns.POPULARITY_BIN, columns.CLUSTER_IDS}
