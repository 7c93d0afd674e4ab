"""The warmup requests of a tower: every signature, whatever it takes, with what users will ask."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3csr_tf import columns

TOWERS = (columns.ITEM_TOWER, columns.USER_TOWER)


@pytest.fixture
def towers(release: Any) -> dict[str, Path]:
    """Both towers, as they were published."""
    return {name: release.path(name) for name in TOWERS}


def requests(tower: Path) -> list[Any]:
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = tower / "assets.extra" / "tf_serving_warmup_requests"
    return [
        PredictionLog.FromString(record.numpy()).predict_log.request for record in tf.data.TFRecordDataset(str(path))
    ]


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_answers_every_warmup_request_with_finite_vectors(towers: dict[str, Path], name: str) -> None:
    import tensorflow as tf

    model = tf.saved_model.load(str(towers[name]))
    asked = requests(towers[name])
    assert 0 < len(asked) <= 1000  # TF Serving takes no more.
    assert {request.model_spec.signature_name for request in asked} == set(model.signatures)
    for request in asked:
        assert request.model_spec.name == name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        outputs = model.signatures[request.model_spec.signature_name](**inputs)
        sizes = {len(value) for value in inputs.values()}
        for output in outputs.values():
            if output.dtype.is_floating:
                assert np.isfinite(output).all()
        if output_name := {columns.ITEM_VECTOR, columns.USER_VECTOR} & set(outputs):
            assert {len(outputs[one]) for one in output_name} == sizes


def test_warmup_covers_the_sizes_and_lengths_that_are_asked_for(towers: dict[str, Path], release: Any) -> None:
    import tensorflow as tf

    from m3csr_tf.export.tf_serving import MAX_BATCH

    [*asked] = requests(towers[columns.USER_TOWER])
    seen = {
        (request.model_spec.signature_name, *tf.make_ndarray(request.inputs[columns.HISTORY]).shape)
        for request in asked
        if request.model_spec.signature_name in (columns.SERVING_DEFAULT, columns.WITH_CONTENT)
    }
    longest = release.manifest["history_length"]
    assert seen == {
        (signature, size, 1 + slots)
        for signature in (columns.SERVING_DEFAULT, columns.WITH_CONTENT)
        for size in (1, 32, MAX_BATCH)
        for slots in (0, 1, longest)
    }
    sizes = {len(tf.make_ndarray(request.inputs[columns.ITEM_ID])) for request in requests(towers[columns.ITEM_TOWER])}
    assert sizes == {1, 32, MAX_BATCH}


def test_warmup_asks_about_known_and_unknown_ids_with_and_without_content(
    towers: dict[str, Path], untrained_run: Any
) -> None:
    import tensorflow as tf

    known = set(untrained_run.prepared.items.known)
    largest = requests(towers[columns.ITEM_TOWER])[-1]
    ids = {one.decode() for one in tf.make_ndarray(largest.inputs[columns.ITEM_ID])}
    assert ids & known and ids - known
    for name in untrained_run.prepared.modalities:
        absent = np.isnan(tf.make_ndarray(largest.inputs[name]))
        assert 0 < absent.all(axis=1).sum() < len(absent)
        assert (absent.all(axis=1) == absent.any(axis=1)).all()
    [*_, history] = [request for request in requests(towers[columns.USER_TOWER]) if columns.HISTORY in request.inputs]
    entries = tf.make_ndarray(history.inputs[columns.HISTORY])
    assert (entries[:, 0] == b"").all()
    entries = {one.decode() for one in entries[:, 1:].ravel()}
    assert entries & known and entries - known - {""}


@pytest.mark.parametrize("name", TOWERS)
def test_the_same_tower_gets_the_same_bytes(towers: dict[str, Path], name: str, release: Any, tmp_path: Path) -> None:
    from m3csr_tf.export.warmup import WARMUP, write_warmup

    copy = Path(shutil.copytree(towers[name], tmp_path / "tower"))
    (copy / WARMUP).unlink()
    write_warmup(copy, name, release.manifest["history_length"])
    assert (copy / WARMUP).read_bytes() == (towers[name] / WARMUP).read_bytes()


def test_wide_content_makes_small_batches_not_large_files(
    towers: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tensorflow as tf

    from m3csr_tf.export import warmup

    tower = Path(shutil.copytree(towers[columns.ITEM_TOWER], tmp_path / "tower"))
    monkeypatch.setattr(warmup, "CONTENT_BYTES", 20 * 4 * (12 + 5))  # Twenty items of the small world.
    warmup.write_warmup(tower, columns.ITEM_TOWER, 6)
    assert {len(tf.make_ndarray(request.inputs[columns.ITEM_ID])) for request in requests(tower)} == {1, 20}
