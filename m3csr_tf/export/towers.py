"""Saved towers as functions that map frames to vectors, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.export.requests import ContentLookup, Request, UserInputs, item_requests, user_requests
from m3csr_tf.export.vocabularies import ITEM_VOCABULARY

BATCH = 4096
CONTENT_BYTES = 64 << 20


class SavedItemTower:
    """An item tower that is loaded from its SavedModel.

    Args:
      folder: the folder of the SavedModel.
    """

    def __init__(self, folder: Path) -> None:
        self._model = tf.saved_model.load(str(folder))

    def answer(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `answer`."""
        return answer(self._model, signature, inputs)

    def vectors(self, catalogue: Catalogue) -> np.ndarray:
        """Computes item vectors float32 [items, D], of known or new items; a view count of -1 is unknown."""
        requests = item_requests(catalogue, batch=BATCH, content_bytes=CONTENT_BYTES)
        return _answers(self._model, requests, columns.ITEM_VECTOR)


class SavedUserTower:
    """A user tower that is loaded from its SavedModel.

    Args:
      folder: the folder of the SavedModel.
      history_length: number of slots that the tower reads.

    Attributes:
      known: ids of the items in its table.
    """

    def __init__(self, folder: Path, history_length: int) -> None:
        self._model = tf.saved_model.load(str(folder))
        self._history_length = history_length
        self.known = known_items(folder)

    def answer(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `answer`."""
        return answer(self._model, signature, inputs)

    def vectors(self, users: pd.DataFrame | UserInputs, items: ContentLookup | None = None) -> np.ndarray:
        """Computes user vectors float32 [users, D].

        Args:
          users: user_id, and history, a list of item ids, oldest first. The last `history_length` distinct items that
            the tower can use count: those of its table, and those whose content `items` has.
          items: content of the items that the table lacks; without it, they are skipped.
        """
        requests = user_requests(
            users, self.known, self._history_length, items, batch=BATCH, content_bytes=CONTENT_BYTES
        )
        return _answers(self._model, requests, columns.USER_VECTOR)

    def intensities(self, users: pd.DataFrame, items: ContentLookup, widths: Mapping[str, int]) -> np.ndarray:
        """Intensities of users (equation 6), float32 [users, modalities], from a tower that has signature `explain`.

        Args:
          users, items: as in `vectors`.
          widths: modality -> width of its raw vectors.
        """
        most = max(1, CONTENT_BYTES // (4 * sum(widths.values()) * (1 + self._history_length)))
        requests = user_requests(
            users, self.known, self._history_length, items, batch=min(BATCH, most), content_bytes=CONTENT_BYTES
        )
        return _answers(self._model, (_to_explain(one, widths) for one in requests), columns.INTENSITIES)


def _to_explain(request: Request, widths: Mapping[str, int]) -> Request:
    """A user request for signature `explain`, which takes content of every slot; the table's items need none."""
    places = request.inputs[columns.HISTORY].shape
    nothing = {columns.history_feature(name): np.zeros([*places, width], np.float32) for name, width in widths.items()}
    return Request(columns.EXPLAIN, request.rows, nothing | request.inputs)


def known_items(folder: Path) -> pd.Index:
    """Reads the ids of a user tower's table of items from the folder of its SavedModel."""
    vocabulary = (Path(folder) / "assets" / ITEM_VOCABULARY).read_bytes().decode("utf-8")
    return pd.Index(vocabulary.split("\n")[:-1], dtype=object)


def answer(model: tf.Module, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Calls a signature of a loaded tower, and returns its outputs by name.

    Args:
      model: the loaded tower.
      signature: the name of the signature.
      inputs: name -> array [B, ...]; strings are object arrays of str.

    Raises:
      KeyError: the tower has no such signature.
    """
    serve = model.signatures[signature]
    tensors = {
        name: tf.constant(values, tf.string if values.dtype == object else None, shape=values.shape)
        for name, values in inputs.items()
    }
    return {name: found.numpy() for name, found in serve(**tensors).items()}


def _answers(model: tf.Module, requests: Iterable[Request], output: str) -> np.ndarray:
    """Returns the answers to all requests, float32 [rows, D], in the order of the users or items asked for."""
    rows, vectors = [], []
    for request in requests:
        rows.append(request.rows)
        vectors.append(answer(model, request.signature, request.inputs)[output])
    placed = np.empty_like(np.concatenate(vectors))
    placed[np.concatenate(rows)] = np.concatenate(vectors)
    return placed
