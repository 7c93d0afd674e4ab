"""Splits: which interactions are train, val and test, and which items are strictly cold or play cold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import SplitConfig
from m3csr_tf.errors import InputError


def split(interactions: pd.DataFrame, items: np.ndarray, config: SplitConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Gives each interaction its split, then moves all interactions with strictly cold items to test.

    - given: the column `split`.
    - random: `ratios` of each user's interactions. A user's n clicks, shuffled, sit at (k + u) / n for k = 0 .. n - 1
      and one u a user, uniform in [0, 1); the ratios cut that line. So each part gets n times its ratio, rounded up or
      down at random with the right mean; the first click is always train, so that a user with one click has a history.
    - time: the ratios are quantiles of all timestamps; clicks of the same time stay together.

    Args:
      interactions: user_id, item_id, and split or timestamp where `kind` needs them; a row a pair.
      items: ids of the catalogue, object [n].
      config: kind, ratios, cold items and seed.

    Returns:
      The interactions with the column `split`, and the strictly cold ids, object, sorted.

    Raises:
      InputError: a column that the kind needs is missing, the cold file is broken or names unknown items, or a split
        ends up empty.
    """
    random_split, random_cold = np.random.default_rng(config.seed).spawn(2)
    if config.kind == "given":
        _require(interactions, columns.SPLIT, config.kind)
        labels = interactions[columns.SPLIT].to_numpy(object)
    elif config.kind == "random":
        labels = _by_user(interactions[columns.USER_ID], config.ratios, random_split)
    else:
        _require(interactions, columns.TIMESTAMP, config.kind)
        labels = _by_time(interactions[columns.TIMESTAMP].to_numpy(), config.ratios)
    cold = _cold_items(interactions, items, config, random_cold)
    labels[interactions[columns.ITEM_ID].isin(cold).to_numpy()] = columns.TEST
    for name in columns.SPLITS:
        if not (labels == name).any():
            raise InputError(
                f"split {name} is empty (split.kind={config.kind}, {len(interactions)} interactions, {len(cold)} "
                "strictly cold items); give more interactions or change the split section"
            )
    return interactions.assign(**{columns.SPLIT: labels}), cold


def play_cold(labelled: pd.DataFrame, config: SplitConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Moves all training interactions of some items, the pseudo-cold ones, to validation; test stays as it is.

    Settings are then chosen on items that play cold, and the strictly cold ones of test stay unseen.

    Args:
      labelled: interactions with the column `split`, as `split` returns them.
      config: `pseudo_cold_share` of the items with a training click is drawn, by `pseudo_cold_seed`.

    Returns:
      The interactions with their new splits, and the pseudo-cold ids, object, sorted; none for a share of 0.

    Raises:
      InputError: no training interaction would be left.
    """
    if not config.pseudo_cold_share:
        return labelled, np.empty(0, object)
    labels, ids = labelled[columns.SPLIT].to_numpy(object, copy=True), labelled[columns.ITEM_ID]
    trained = np.sort(ids[labels == columns.TRAIN].unique().astype(object))
    random = np.random.default_rng(config.pseudo_cold_seed)
    count = max(1, round(config.pseudo_cold_share * len(trained)))
    chosen = np.sort(random.choice(trained, count, replace=False))
    labels[(labels == columns.TRAIN) & ids.isin(chosen).to_numpy()] = columns.VAL
    if not (labels == columns.TRAIN).any():
        raise InputError(
            f"split.pseudo_cold_share={config.pseudo_cold_share} leaves no training interaction "
            f"({len(trained)} items have one); lower it"
        )
    return labelled.assign(**{columns.SPLIT: labels}), chosen


def _require(interactions: pd.DataFrame, column: str, kind: str) -> None:
    if column not in interactions:
        raise InputError(
            f"split.kind={kind} needs the column {column} in the interactions, which lack it; choose another kind"
        )


def _by_user(users: pd.Series, ratios: tuple[float, float, float], random: np.random.Generator) -> np.ndarray:
    codes, _ = pd.factorize(users)
    order = np.lexsort((random.random(len(codes)), codes))
    sizes = np.bincount(codes)
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (rank + random.random(len(sizes))[codes]) / sizes[codes]
    place[rank == 0] = 0
    return _cut(place, np.cumsum(ratios[:2]))


def _by_time(timestamps: np.ndarray, ratios: tuple[float, float, float]) -> np.ndarray:
    ordered = np.sort(timestamps)
    first_of_next = np.minimum(np.rint(np.cumsum(ratios[:2]) * len(ordered)).astype(int), len(ordered) - 1)
    return _cut(timestamps, ordered[first_of_next])


def _cut(values: np.ndarray, borders: np.ndarray) -> np.ndarray:
    return np.array(columns.SPLITS, dtype=object)[np.searchsorted(borders, values, side="right")]


def _cold_items(
    interactions: pd.DataFrame, items: np.ndarray, config: SplitConfig, random: np.random.Generator
) -> np.ndarray:
    if config.cold_file is not None:
        return _read_cold_file(config.cold_file, items)
    clicked = np.sort(interactions[columns.ITEM_ID].unique().astype(object))
    count = max(1, round(config.cold_share * len(clicked))) if config.cold_share else 0
    return np.sort(random.choice(clicked, count, replace=False))


def _read_cold_file(path: Path, items: np.ndarray) -> np.ndarray:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the strictly cold items ({error.strerror}); check split.cold_file"
        ) from None
    except ValueError:
        raise InputError(f"{path}: not valid JSON; expected a list of item ids") from None
    if not isinstance(listed, list) or not listed or not all(type(entry) in (str, int) for entry in listed):
        raise InputError(f"{path}: expected a JSON list of item ids (strings or whole numbers), at least one")
    cold = np.unique(np.array([str(entry) for entry in listed], dtype=object))
    unknown = cold[~np.isin(cold, items)]
    if len(unknown):
        raise InputError(
            f"{path}: {len(unknown)} of the items are not in the catalogue, e.g. {unknown[0]!r}; drop them"
        )
    return cold
