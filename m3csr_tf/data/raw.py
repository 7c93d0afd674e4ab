"""The raw input in the form that every reader returns, and the check of the interactions against the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

EXAMPLES = 1000
"""Number of unknown items for which the catalogue is searched for the same id in another spelling."""


@dataclass(frozen=True)
class RawData:
    """The raw input as `formats.read` returns it.

    Attributes:
      interactions: user_id and item_id (str) and, where the input has them, timestamp, weight, kinds and split; one
        row for each (user, item) pair.
      catalogue: the items and their content.
      counts: number of rows that the checks merged or dropped, by reason.
      truth: the truth of the synthetic world (`world.make_world`), or None for real data.
      weighted: whether interactions differ in weight (`weights_differ`).
    """

    interactions: pd.DataFrame
    catalogue: Catalogue
    counts: dict[str, int] = field(default_factory=dict)
    truth: dict[str, np.ndarray] | None = None
    weighted: bool = False


def check_items_known(interactions: pd.DataFrame, catalogue: Catalogue, source: str) -> None:
    """Refuses interactions with items that the catalogue lacks.

    Raises:
      InputError: there are such interactions; the message gives their number and one of the items.
    """
    known = catalogue.frame[columns.ITEM_ID]
    unknown = ~interactions[columns.ITEM_ID].isin(known)
    if unknown.any():
        examples = interactions.loc[unknown, columns.ITEM_ID].drop_duplicates()[:EXAMPLES]
        refuse_unknown(int(unknown.sum()), list(examples), known, source)


def refuse_unknown(count: int, examples: Sequence[str], known: Iterable[str], source: str) -> None:
    """Refuses a log of which `count` interactions are with items that the catalogue lacks.

    Args:
      count: number of such interactions.
      examples: some of the items.
      known: ids of the catalogue.
      source: the name of the log in error messages.

    Raises:
      InputError: `count` is not 0. If the catalogue has one of the items in another spelling, the message says so.
    """
    if not count:
        return
    wanted = {_spelt_plainly(example): example for example in reversed(examples)}
    near = next(((wanted[plain], other) for other in known if (plain := _spelt_plainly(other)) in wanted), None)
    advice = "add the items to the catalogue, or drop the interactions"
    if near is not None:
        advice = f"the catalogue has {quoted(near[1])}: write ids alike in both ({_difference(*near)})"
    raise InputError(
        f"{source}: {count} interactions are with items that the catalogue lacks, e.g. "
        f"{quoted(examples[0] if near is None else near[0])}; {advice}"
    )


def _spelt_plainly(item: str) -> str:
    """Normalises an id so that it equals ids that differ from it in leading zeros, case, outer spaces or ".0"."""
    plain = item.strip().casefold()
    return re.sub(r"\.0+$", "", plain).lstrip("0")


def _difference(one: str, other: str) -> str:
    stripped = one.strip(), other.strip()
    if stripped[0] == stripped[1]:
        return "they differ in spaces around them"
    if stripped[0].casefold() == stripped[1].casefold():
        return "they differ in case"
    decimals = [re.sub(r"\.0+$", "", text) for text in stripped]
    return "one is written as a decimal number" if decimals[0] == decimals[1] else "they differ in leading zeros"
