"""Warm-up requests, which TF Serving replays when it loads a tower, so that no user waits for lazy initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from m3csr_tf import columns
from m3csr_tf.export.tf_serving import MAX_BATCH
from m3csr_tf.export.vocabularies import ITEM_VOCABULARY, USER_VOCABULARY
from m3csr_tf.util.files import replacing

WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
BATCHES = (1, 32, MAX_BATCH)
CONTENT_BYTES = 1 << 20
"""Largest number of bytes of content of a request; larger batches are cut to it."""


def write_warmup(folder: Path, name: str, history_length: int) -> None:
    """Writes the warm-up requests of a tower into its SavedModel; the same tower always gets the same bytes.

    Every signature is called with batches of 1, 32 and the largest size that TF Serving accepts, and with histories of
    no item, one item and as many as the tower reads, with and without content.

    Args:
      folder: the folder of the SavedModel.
      name: the name of the model in TF Serving.
      history_length: number of slots that the tower reads.
    """
    # A tower that hashes user ids has no vocabulary of users, so unknown ids stand in for them.
    vocabularies = {USER_VOCABULARY: _unknown(25)}
    vocabularies |= {file.name: _some(file) for file in sorted((folder / "assets").iterdir())}
    with replacing(folder / WARMUP) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for signature, definition in sorted(signatures(folder).items()):
            for inputs in _batches(definition, vocabularies, history_length):
                request = PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                for key, values in inputs.items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
                log = PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString(deterministic=True))


def signatures(folder: Path) -> dict[str, SignatureDef]:
    """Returns the callable signatures of a SavedModel by name, without loading the model."""
    model = SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    [graph] = model.meta_graphs
    return {name: definition for name, definition in graph.signature_def.items() if definition.inputs}


def _batches(
    definition: SignatureDef, vocabularies: dict[str, np.ndarray], history_length: int
) -> Iterator[dict[str, np.ndarray]]:
    specs = dict(sorted(definition.inputs.items()))
    with_history = any(len(spec.tensor_shape.dim) > 1 and spec.tensor_shape.dim[1].size < 0 for spec in specs.values())
    rng = np.random.default_rng(0)
    for slots in sorted({0, 1, history_length}) if with_history else [0]:
        widths = [
            np.prod(_shape(spec, 1, slots)) for spec in specs.values() if spec.dtype == tf.float32.as_datatype_enum
        ]
        fits = max(1, int(CONTENT_BYTES // max(1, 4 * sum(widths))))
        for size in sorted({min(size, fits) for size in BATCHES}):
            yield {key: _values(key, _shape(spec, size, slots), spec, vocabularies, rng) for key, spec in specs.items()}


def _shape(spec: TensorInfo, size: int, slots: int) -> list[int]:
    """Returns the shape of an input for `size` rows, with an empty slot and `slots` items of history."""
    first, *others = [dim.size for dim in spec.tensor_shape.dim]
    return [size if first < 0 else first, *(1 + slots if dim < 0 else dim for dim in others)]


def _values(
    key: str, shape: list[int], spec: TensorInfo, vocabularies: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    dtype = tf.as_dtype(spec.dtype)
    if dtype == tf.string:
        ids = vocabularies[USER_VOCABULARY if key == columns.USER_ID else ITEM_VOCABULARY]
        values = rng.choice(ids, shape)
        if len(shape) > 1:
            values[:, 0] = ""
        return values
    if dtype.is_integer:
        return rng.integers(-1, 1000, shape).astype(dtype.as_numpy_dtype)
    values = rng.normal(size=shape).astype(dtype.as_numpy_dtype)
    values[rng.random(shape[:-1]) < 0.25] = np.nan
    return values


def _some(vocabulary: Path) -> np.ndarray:
    """Returns a few ids of a vocabulary file and some unknown ones, object array of str."""
    with vocabulary.open(encoding="utf-8", newline="\n") as lines:
        known = [line.removesuffix("\n") for line, _ in zip(lines, range(100), strict=False)]
    return np.array([*known, *_unknown(1 + len(known) // 4)], dtype=object)


def _unknown(count: int) -> np.ndarray:
    return np.array([f"unknown {number}" for number in range(count)], dtype=object)
