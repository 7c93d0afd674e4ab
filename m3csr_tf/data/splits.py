"""Splits: which interactions are train, val and test, and which items are strictly cold or play cold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import SplitConfig
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import read_json
from m3csr_tf.util.quoting import quoted

Kind = Literal["given", "time", "random"]
_NEEDED: dict[Kind, str] = {"given": columns.SPLIT, "time": columns.TIMESTAMP}
"""The column that a kind needs; `auto` takes the first kind whose column is there."""


def takes_given(config: SplitConfig) -> bool:
    """Whether splits that the data give count; otherwise all of them is one log."""
    return config.kind in ("auto", "given")


def why(kind: Kind, config: SplitConfig) -> str:
    """Why a log is split by a kind, in words."""
    if config.kind != "auto":
        return f"split.kind={kind}"
    if kind == "random":
        return "split.kind=auto; the interactions have neither a column split nor timestamps"
    return f"split.kind=auto; the interactions have the column {_NEEDED[kind]}"


def kind_of(names: Iterable[str], config: SplitConfig) -> Kind:
    """The kind of split that interactions with these columns get.

    Raises:
      InputError: the column that the kind needs is missing.
    """
    names = list(names)
    if config.kind == "auto":
        for kind, column in _NEEDED.items():
            if column in names:
                return kind
        return "random"
    column = _NEEDED.get(config.kind, columns.USER_ID)
    if column not in names:
        raise InputError(
            f"split.kind={config.kind} needs the column {column} in the interactions, which lack it; choose another"
        )
    return config.kind


def split(interactions: pd.DataFrame, items: np.ndarray, config: SplitConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Gives each interaction its split, then moves all interactions with strictly cold items to test.

    With `cold_validation`, that share of those interactions, drawn at random, goes to validation instead: the split of
    papers on cold start, whose settings are chosen on cold items too.

    - given: the column `split`.
    - random: `ratios` of each user's interactions. A user's n clicks, shuffled, sit at (k + u) / n for k = 0 .. n - 1
      and one u a user, uniform in [0, 1); the ratios cut that line. So each part gets n times its ratio, rounded up or
      down at random with the right mean; the first click is always train, so that a user with one click has a history.
    - time: the ratios are quantiles of all timestamps; clicks of the same time stay together.
    - auto: the first of given and time whose column is there, otherwise random (`kind_of`).

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
    random_split, random_cold, random_validation = np.random.default_rng(config.seed).spawn(3)
    kind = kind_of(interactions.columns, config)
    if kind == "given":
        labels = interactions[columns.SPLIT].to_numpy(object)
    elif kind == "random":
        labels = by_user(interactions[columns.USER_ID], config.ratios, random_split)
    else:
        ordered = np.sort(interactions[columns.TIMESTAMP].to_numpy())
        borders = ordered[ranks_of_borders(config.ratios, len(ordered))]
        labels = cut(interactions[columns.TIMESTAMP].to_numpy(), borders)
    cold = strictly_cold_items(
        np.sort(interactions[columns.ITEM_ID].unique().astype(object)), items, config, random_cold
    )
    strictly_cold = np.flatnonzero(interactions[columns.ITEM_ID].isin(cold))
    labels[strictly_cold] = columns.TEST
    validated = round(config.cold_validation * len(strictly_cold))
    labels[random_validation.permutation(strictly_cold)[:validated]] = columns.VAL
    sizes = {name: int((labels == name).sum()) for name in columns.SPLITS}
    refuse_empty(sizes, len(cold), kind, lambda: [interactions[columns.TIMESTAMP].to_numpy()])
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
    chosen = pseudo_cold_items(trained, config)
    labels[(labels == columns.TRAIN) & ids.isin(chosen).to_numpy()] = columns.VAL
    refuse_untrained(int((labels == columns.TRAIN).sum()), len(trained), config)
    return labelled.assign(**{columns.SPLIT: labels}), chosen


def pseudo_cold_items(trained: np.ndarray, config: SplitConfig) -> np.ndarray:
    """The items that play cold: of the ids with a training click, object, sorted; so is what comes back."""
    random = np.random.default_rng(config.pseudo_cold_seed)
    count = max(1, round(config.pseudo_cold_share * len(trained)))
    return np.sort(random.choice(trained, count, replace=False))


def refuse_untrained(clicks: int, trained: int, config: SplitConfig) -> None:
    """Refuses pseudo-cold items that leave no training click of the `trained` items that had one.

    Raises:
      InputError: there is none.
    """
    if not clicks:
        raise InputError(
            f"split.pseudo_cold_share={config.pseudo_cold_share} leaves no training interaction "
            f"({trained} items have one); lower it"
        )


def refuse_empty(sizes: Mapping[str, int], cold: int, kind: Kind, times: Callable[[], Iterable[np.ndarray]]) -> None:
    """Refuses a split without interactions.

    Args:
      sizes: interactions of each split.
      cold: strictly cold items.
      kind: of the split.
      times: gives the timestamps of all interactions, where the kind is "time": many equal ones may be the cause.

    Raises:
      InputError: naming the split.
    """
    for name, size in sizes.items():
        if not size:
            if kind == "given":
                moved = f", and {cold} strictly cold items moved to test" if cold else ""
                raise InputError(
                    f"split {name} is empty: the data give splits (split.kind=given), and {name} has none of their "
                    f"{sum(sizes.values())} interactions{moved}; add interactions of {name}, or set split.kind=random "
                    "(or time, where there are timestamps), which takes all of the data as one log"
                )
            ties = _ties(times()) if kind == "time" else ""
            raise InputError(
                f"split {name} is empty (split.kind={kind}, {sum(sizes.values())} interactions, {cold} "
                f"strictly cold items){ties}; give more interactions or change the split section"
            )


def _ties(times: Iterable[np.ndarray]) -> str:
    """What equal timestamps have to do with an empty split; nothing if there are none."""
    counts: Counter[float] = Counter()
    for block in times:
        counts.update(dict(zip(*(found.tolist() for found in np.unique(block, return_counts=True)), strict=True)))
    most, rows = max(counts.values()), counts.total()
    if most == 1:
        return ""
    return (
        f": there are {len(counts)} distinct timestamps, {most / rows:.0%} of the interactions share one, and those of "
        "one moment stay together, so that the borders of split.ratios fall on the same moment; give finer timestamps, "
        "ratios that fit them, or split.kind=random"
    )


def by_user(users: pd.Series, ratios: tuple[float, float, float], random: np.random.Generator) -> np.ndarray:
    """Labels, object [n], of the kind "random" (`split`) for interactions of these users."""
    codes, _ = pd.factorize(users)
    order = np.lexsort((random.random(len(codes)), codes))
    sizes = np.bincount(codes)
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (rank + random.random(len(sizes))[codes]) / sizes[codes]
    place[rank == 0] = 0
    return cut(place, np.cumsum(ratios[:2]))


def ranks_of_borders(ratios: tuple[float, float, float], count: int) -> np.ndarray:
    """Places of the first timestamps of val and of test among `count` sorted ones, int [2]."""
    return np.minimum(np.rint(np.cumsum(ratios[:2]) * count).astype(int), count - 1)


def cut(values: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Labels, object [n]: train below the first border, val below the second, test from there."""
    return np.array(columns.SPLITS, dtype=object)[np.searchsorted(borders, values, side="right")]


def strictly_cold_items(
    clicked: np.ndarray, items: np.ndarray, config: SplitConfig, random: np.random.Generator
) -> np.ndarray:
    """The strictly cold ids, object, sorted: drawn from the clicked ones, object, sorted, or those of the cold file.

    Raises:
      InputError: the cold file is broken, or names items that are not in the catalogue, `items`.
    """
    if config.cold_file is not None:
        return _read_cold_file(config.cold_file, items)
    count = max(1, round(config.cold_share * len(clicked))) if config.cold_share else 0
    return np.sort(random.choice(clicked, count, replace=False))


def _read_cold_file(path: Path, items: np.ndarray) -> np.ndarray:
    expected = "a JSON list of item ids (strings or whole numbers), at least one; check split.cold_file"
    listed = read_json(path, expected)
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: expected {expected}")
    entries = pd.Series(np.fromiter(listed, object, len(listed)), name="item")
    cold = np.unique(to_ids(entries, str(path)).to_numpy(object))
    unknown = cold[~np.isin(cold, items)]
    if len(unknown):
        raise InputError(
            f"{path}: {len(unknown)} of the items are not in the catalogue, e.g. {quoted(unknown[0])}; drop them"
        )
    return cold
