"""Explains a pair of a user and an item: the parts of its score, intensities, the gate, and the attention weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS
from m3csr_tf.errors import InputError
from m3csr_tf.export.requests import item_requests, user_requests
from m3csr_tf.export.towers import CONTENT_BYTES
from m3csr_tf.export.vocabularies import USER_VOCABULARY
from m3csr_tf.models.m3csr.layout import ID_PART
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

FORMAT = 1
"""Version of the format of `Explanation.to_json`; it changes when a name is changed or removed."""

UNIFORM_WITHIN = 0.05
"""Attention to n items is called uniform if every weight differs from 1/n by less than this share of 1/n."""


class Attended(NamedTuple):
    """An item of the history and its attention weight, which is from 0 to 1."""

    item: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """Why an item has its score for a user.

    Attributes:
      release, version, fingerprint: the release that gives the explanation.
      model: the name of its model in tables.
      explains: whether the model has intensities, attention and perhaps a gate; if not, the parts of the score are all
        that it explains.
      user: the user's id.
      known_user: whether the user tower has a row for her; if not, the row of unknown users is used.
      history: the items that the tower used, oldest first.
      skipped: the items of the history that were not used: they are unknown and without content, were given twice, or
        are beyond the history's length.
      item: the item's id.
      views: its view count, if the release was given one.
      popularity_bin: the item's popularity bin; the gate reads bin 0 instead where training has not seen the id.
      gate: delta of equation 10, the weight of the item's content; the weight of its id is 1 - delta. None without a
        gate.
      clusters: modality -> number of the nearest cluster centre, from 1; None where the item lacks the modality. Empty
        where the model does not explain.
      score: the score by the index, which is the dot product of the vectors (equations 9 and 11).
      parts: "id", each modality and "popularity" -> its summand of the score.
      intensities: modality -> how much the user cares for it (equation 6); they sum to 1. Empty where the model does
        not explain.
      attention: "id" (equation 3) and each modality (equation 4) -> the items of the history that have it, by attention
        weight, highest first. The weights of a part, averaged over heads, sum to 1. A part is empty where no item of
        the history has it, and the mapping where the model does not explain.
    """

    release: str
    version: int
    fingerprint: str
    model: str
    explains: bool
    user: str
    known_user: bool
    history: list[str]
    skipped: list[str]
    item: str
    views: int | None
    popularity_bin: int
    gate: float | None
    clusters: dict[str, int | None]
    score: float
    parts: dict[str, float]
    intensities: dict[str, float]
    attention: dict[str, list[Attended]]

    @property
    def attention_is_uniform(self) -> bool | None:
        """Whether every part attends equally to its items (UNIFORM_WITHIN), so that interests are plain means.

        It is None where no part has two items, because there is nothing to choose between.
        """
        choices = [items for items in self.attention.values() if len(items) > 1]
        if not choices:
            return None
        return all(abs(one.weight * len(items) - 1) < UNIFORM_WITHIN for items in choices for one in items)

    def to_json(self) -> dict[str, Any]:
        """Returns the explanation as a tree for JSON, which docs/explain.md describes."""
        return {
            "format": FORMAT,
            "release": {"name": self.release, "version": self.version, "fingerprint": self.fingerprint},
            "model": {"title": self.model, "explains": self.explains},
            "user": {"id": self.user, "known": self.known_user, "history": self.history, "skipped": self.skipped},
            "item": {
                "id": self.item,
                "view_count": self.views,
                "popularity_bin": self.popularity_bin,
                "gate": self.gate,
                "clusters": self.clusters,
            },
            "score": self.score,
            "parts": self.parts,
            "intensities": self.intensities,
            "attention": {part: [one._asdict() for one in items] for part, items in self.attention.items()},
            "attention_is_uniform": self.attention_is_uniform,
        }


def explain_pair(
    release: Release, user: str, item: str, history: Sequence[str], known_user: bool | None = None
) -> Explanation:
    """Explains the score of one item for one user by a release.

    Args:
      release: a release; nothing else is needed.
      user: the user's id, known or unknown.
      item: the id of an item of the index.
      history: item ids, oldest first.
      known_user: whether the user tower was trained with the user, if the caller knows; if None, its folder is read.

    Raises:
      InputError: the index lacks the item.
      ReleaseError: the towers were released before they could explain.
    """
    item_ids = np.array([item], dtype=object)
    if release.index.rows(item_ids)[0] < 0:
        raise InputError(
            f"item {quoted(item)} is not in version {release.version} of {release.folder} "
            f"({len(release.index):,} items); check the id, or take the video in with pipelines/refresh.py"
        )
    used, user_outputs = _ask_user_tower(release, user, history)
    item_outputs = _ask_item_tower(release, item_ids)
    # The vector of the index is used, because its score is the one by which lists are made.
    parts = release.score_parts(user_outputs[columns.USER_VECTOR], release.index.vectors(item_ids))
    views = int(release.items.views(item_ids)[0])
    used_at = {position: given for position, given in enumerate(used) if given}
    modalities = release.modalities if release.explains else {}
    return Explanation(
        release=release.folder.name,
        version=release.version,
        fingerprint=release.manifest["fingerprint"],
        model=release.model_title,
        explains=release.explains,
        user=user,
        known_user=_is_known(release.path(columns.USER_TOWER), user) if known_user is None else known_user,
        history=list(used_at.values()),
        skipped=_skipped(history, list(used_at.values())),
        item=item,
        views=None if views == UNKNOWN_VIEWS else views,
        popularity_bin=int(item_outputs[columns.POPULARITY_BIN][0]),
        gate=float(item_outputs[columns.GATE][0]) if columns.GATE in item_outputs else None,
        clusters={
            name: int(number) or None
            for name, number in zip(modalities, item_outputs[columns.CLUSTER_IDS][0, : len(modalities)], strict=True)
        },
        score=float(np.sum(list(parts.values()))),
        parts={part: float(values[0]) for part, values in parts.items()},
        intensities={
            name: float(user_outputs[columns.INTENSITIES][0, position]) for position, name in enumerate(modalities)
        },
        attention={
            part: _by_weight(used_at, user_outputs[columns.attention_output(part)][0])
            for part in ((ID_PART, *modalities) if release.explains else ())
        },
    )


def _ask_user_tower(release: Release, user: str, history: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the history as it is given to the user tower, object array of str [slots], and the tower's outputs."""
    frame = pd.DataFrame({columns.USER_ID: [user], columns.HISTORY: [list(history)]})
    length = release.manifest["history_length"]
    known = release.trained_items
    [request] = user_requests(frame, known, length, release.items, batch=1, content_bytes=CONTENT_BYTES)
    history_inputs = request.inputs[columns.HISTORY]
    nothing = {
        columns.history_feature(name): np.zeros([*history_inputs.shape, width], np.float32)
        for name, width in release.modalities.items()
    }
    signature = columns.EXPLAIN if release.explains else columns.WITH_CONTENT
    return history_inputs[0], release.ask(columns.USER_TOWER, signature, nothing | request.inputs)


def _ask_item_tower(release: Release, item: np.ndarray) -> dict[str, np.ndarray]:
    [request] = item_requests(release.items.catalogue(item), batch=1, content_bytes=CONTENT_BYTES)
    return release.ask(columns.ITEM_TOWER, columns.EXPLAIN, request.inputs)


def _by_weight(items_at: Mapping[int, str], weights: np.ndarray) -> list[Attended]:
    attended = [
        Attended(item, float(weights[position])) for position, item in items_at.items() if weights[position] > 0
    ]
    return sorted(attended, key=lambda one: -one.weight)


def _skipped(given: Sequence[str], used: Sequence[str]) -> list[str]:
    """Returns the given history without the items that were used; of an item given twice, the latest entry was used."""
    latest = {item: position for position, item in enumerate(given)}
    return [item for position, item in enumerate(given) if item not in set(used) or latest[item] != position]


def _is_known(folder: Path, user: str) -> bool:
    vocabulary = folder / "assets" / USER_VOCABULARY
    if not vocabulary.exists():
        return True  # With hashing, every id has a row.
    with vocabulary.open(encoding="utf-8", newline="\n") as lines:
        return any(line.removesuffix("\n") == user for line in lines)
