"""Splits the log into train, val and test, and chooses the strictly cold and the pseudo-cold items."""

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
TrainOn = Literal["train", "train_val", "all"]
_NEEDED: dict[Kind, str] = {"given": columns.SPLIT, "time": columns.TIMESTAMP}
"""The column that a kind of split needs. `auto` takes the first kind whose column the log has."""


def takes_given(config: SplitConfig) -> bool:
    """Returns whether a split that comes with the data is used; otherwise the data are one log that is split here."""
    return config.kind in ("auto", "given")


def why(kind: Kind, config: SplitConfig) -> str:
    """Explains in words why a log is split by this kind."""
    if config.kind != "auto":
        return f"split.kind={kind}"
    if kind == "random":
        return "split.kind=auto; the interactions have neither a column split nor timestamps"
    return f"split.kind=auto; the interactions have the column {_NEEDED[kind]}"


def kind_of(names: Iterable[str], config: SplitConfig) -> Kind:
    """Returns the kind of split for interactions that have these columns.

    Raises:
      InputError: the configured kind needs a column that is missing, or `validation_share` is set for data that give no
        split.
    """
    names = list(names)
    found: Kind = next((one for one, column in _NEEDED.items() if column in names), "random")
    kind = found if config.kind == "auto" else config.kind
    column = _NEEDED.get(kind, columns.USER_ID)
    if column not in names:
        raise InputError(
            f"split.kind={kind} needs the column {column} in the interactions, which lack it; choose another"
        )
    if config.validation_share and kind != "given":
        raise InputError(
            f"split.validation_share={config.validation_share} is for data that give a split without validation; these "
            f"are split by {kind}, and split.ratios says how much is validation; leave it out"
        )
    return kind


def split(interactions: pd.DataFrame, items: np.ndarray, config: SplitConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Assigns each interaction to a split, then moves all interactions with strictly cold items to test.

    If `cold_validation` is set, that share of those interactions, drawn at random, goes to validation instead. Papers
    on cold start use such a split, in which settings are chosen on cold items too. For a final fit, clicks then go to
    training (`give_to_training`).

    - given: the column `split` decides. If `validation_share` is set, that share of each user's training clicks is
      validation (`with_validation`).
    - random: each user's interactions are divided by `ratios`. Her n clicks, in random order, are placed at (k + u) / n
      for k = 0 .. n - 1, with one u for each user, uniform in [0, 1), and the ratios cut the unit interval. So each
      split gets n times its ratio, rounded up or down at random without bias. The first click is always in train, so
      that a user with a single click has a history.
    - time: the ratios are quantiles of all timestamps; clicks with equal timestamps stay together.
    - auto: the first of given and time whose column is there, otherwise random (`kind_of`).

    Args:
      interactions: user_id, item_id, and split or timestamp where the kind needs it; one row for each (user, item)
        pair.
      items: ids of the catalogue, object [items].
      config: the kind of split, ratios, cold items and seed.

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
        if config.validation_share:
            labels = with_validation(labels, interactions[columns.USER_ID], config, random_split)
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
    give_to_training(labels, interactions[columns.ITEM_ID].isin(cold).to_numpy(), config.train_on)
    cold = cold[:0] if config.train_on == "all" else cold
    return interactions.assign(**{columns.SPLIT: labels}), cold


def play_cold(labelled: pd.DataFrame, config: SplitConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Moves all training interactions of some items, the pseudo-cold ones, to validation; test stays as it is.

    Settings for cold items can then be chosen on the pseudo-cold items, while the strictly cold items of test stay
    unseen.

    A final fit has no validation, so there nothing is moved (`train_on`).

    Args:
      labelled: interactions with the column `split`, as `split` returns them.
      config: gives the share of the items with a training click that is drawn (`pseudo_cold_share`), the seed of the
        draw (`pseudo_cold_seed`), and `train_on`.

    Returns:
      The interactions with their new splits, and the pseudo-cold ids, object, sorted; there are none if the share is 0.

    Raises:
      InputError: no training interaction would be left.
    """
    if not config.pseudo_cold_share or config.train_on != "train":
        return labelled, np.empty(0, object)
    labels, ids = labelled[columns.SPLIT].to_numpy(object, copy=True), labelled[columns.ITEM_ID]
    trained = np.sort(ids[labels == columns.TRAIN].unique().astype(object))
    chosen = pseudo_cold_items(trained, config)
    labels[(labels == columns.TRAIN) & ids.isin(chosen).to_numpy()] = columns.VAL
    refuse_untrained(int((labels == columns.TRAIN).sum()), len(trained), config)
    return labelled.assign(**{columns.SPLIT: labels}), chosen


def give_to_training(labels: np.ndarray, strictly_cold: np.ndarray, train_on: TrainOn) -> None:
    """Gives a final fit the clicks that it is to train on, in place.

    With "all" every click becomes a training click, so that no item is strictly cold any more. With "train_val" the
    clicks of validation do, but for those of strictly cold items, which would not be cold for test any more.

    Args:
      labels: positions in `columns.SPLITS`, or the names themselves, [n].
      strictly_cold: which of the interactions are with strictly cold items, bool [n].
      train_on: `split.train_on`.
    """
    train, val = columns.SPLITS[:2] if labels.dtype == object else (0, 1)
    if train_on == "all":
        labels[:] = train
    elif train_on == "train_val":
        labels[(labels == val) & ~strictly_cold] = train


def pseudo_cold_items(trained: np.ndarray, config: SplitConfig) -> np.ndarray:
    """Draws the pseudo-cold items from `trained`, the sorted ids with a training click, and returns them sorted."""
    random = np.random.default_rng(config.pseudo_cold_seed)
    count = max(1, round(config.pseudo_cold_share * len(trained)))
    return np.sort(random.choice(trained, count, replace=False))


def refuse_untrained(clicks: int, trained: int, config: SplitConfig) -> None:
    """Refuses a choice of pseudo-cold items that leaves no training click at all.

    Args:
      clicks: number of training clicks that are left.
      trained: number of items that had a training click before.
      config: gives the share, for the message.

    Raises:
      InputError: `clicks` is 0.
    """
    if not clicks:
        raise InputError(
            f"split.pseudo_cold_share={config.pseudo_cold_share} leaves no training interaction "
            f"({trained} items have one); lower it"
        )


def refuse_empty(sizes: Mapping[str, int], cold: int, kind: Kind, times: Callable[[], Iterable[np.ndarray]]) -> None:
    """Refuses an assignment in which a split has no interactions.

    Args:
      sizes: split -> number of interactions.
      cold: number of strictly cold items.
      kind: the kind of split.
      times: returns the timestamps of all interactions in blocks. It is called for the kind "time" alone, where many
        equal timestamps may be the cause.

    Raises:
      InputError: a split is empty; the message names it.
    """
    for name, size in sizes.items():
        if not size:
            if kind == "given":
                moved = f", and {cold} strictly cold items moved to test" if cold else ""
                raise InputError(
                    f"split {name} is empty: the data give splits (split.kind=given), and {name} has none of their "
                    f"{sum(sizes.values())} interactions{moved}; add interactions of {name}, or set "
                    + ("split.validation_share=0.1, which takes them from train, or " if name == columns.VAL else "")
                    + "split.kind=random (or time, where there are timestamps), which takes all of the data as one log"
                )
            ties = _ties(times()) if kind == "time" else ""
            raise InputError(
                f"split {name} is empty (split.kind={kind}, {sum(sizes.values())} interactions, {cold} "
                f"strictly cold items){ties}; give more interactions or change the split section"
            )


def _ties(times: Iterable[np.ndarray]) -> str:
    """Describes how equal timestamps can make a split empty; returns "" if all timestamps differ."""
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
    """Returns the labels, object [n], that the kind "random" of `split` gives the interactions of these users."""
    codes, _ = pd.factorize(users)
    order = np.lexsort((random.random(len(codes)), codes))
    sizes = np.bincount(codes)
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (rank + random.random(len(sizes))[codes]) / sizes[codes]
    place[rank == 0] = 0
    return cut(place, np.cumsum(ratios[:2]))


def with_validation(
    labels: np.ndarray, users: pd.Series, config: SplitConfig, random: np.random.Generator
) -> np.ndarray:
    """Moves a share of each user's training clicks to validation, for data that give train and test alone.

    A user's clicks are drawn as the kind "random" of `split` draws them, so that every user keeps a training click.

    Args:
      labels: the splits that the data give, object [n].
      users: the user of each interaction [n].
      config: gives the share, `validation_share`.
      random: the generator of the draw.

    Returns:
      The new labels, object [n].

    Raises:
      InputError: the data give validation clicks themselves.
    """
    given = int((labels == columns.VAL).sum())
    if given:
        raise InputError(
            f"split.validation_share={config.validation_share} is for data that give a split without validation; these "
            f"give {given:,} interactions of val; leave the setting out"
        )
    trained = labels == columns.TRAIN
    moved = labels.copy()
    share = config.validation_share
    moved[trained] = by_user(users[trained], (1 - share, share, 0.0), random)
    return moved


def ranks_of_borders(ratios: tuple[float, float, float], count: int) -> np.ndarray:
    """Returns the ranks, among `count` sorted timestamps, at which val and test begin, int [2]."""
    return np.minimum(np.rint(np.cumsum(ratios[:2]) * count).astype(int), count - 1)


def cut(values: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Returns labels, object [n]: train below the first border, val from it to the second, test from the second on."""
    return np.array(columns.SPLITS, dtype=object)[np.searchsorted(borders, values, side="right")]


def strictly_cold_items(
    clicked: np.ndarray, items: np.ndarray, config: SplitConfig, random: np.random.Generator
) -> np.ndarray:
    """Returns the strictly cold ids, object, sorted: those of the cold file, or a random share of the clicked items.

    Args:
      clicked: ids of the items with an interaction, object, sorted.
      items: ids of the catalogue, object [items].
      config: gives the cold file or the share of cold items.
      random: the generator of the draw.

    Raises:
      InputError: the cold file is broken, or names items that are not in the catalogue.
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
    unknown = cold[pd.Index(items).get_indexer(cold) < 0]
    if len(unknown):
        raise InputError(
            f"{path}: {len(unknown)} of the items are not in the catalogue, e.g. {quoted(unknown[0])}; drop them"
        )
    return cold
