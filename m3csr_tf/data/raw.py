"""The raw input as every reader gives it: interactions and catalogue, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError


@dataclass(frozen=True)
class RawData:
    """What `formats.read` gives.

    Attributes:
      interactions: user_id, item_id (str) and, if known, timestamp, weight, split; a row a pair.
      catalogue: the items and their content.
      counts: what the checks merged or dropped.
      truth: the synthetic world's truth (`world.make_world`), or None for real data.
    """

    interactions: pd.DataFrame
    catalogue: Catalogue
    counts: dict[str, int] = field(default_factory=dict)
    truth: dict[str, np.ndarray] | None = None


def check_items_known(interactions: pd.DataFrame, catalogue: Catalogue, source: str) -> None:
    """Refuses interactions with items that the catalogue lacks.

    Raises:
      InputError: naming how many such interactions there are, and one item.
    """
    unknown = ~interactions[columns.ITEM_ID].isin(catalogue.frame[columns.ITEM_ID])
    if unknown.any():
        refuse_unknown(int(unknown.sum()), interactions.loc[unknown, columns.ITEM_ID].iloc[0], source)


def refuse_unknown(count: int, example: str, source: str) -> None:
    """Refuses a log with `count` interactions with items that the catalogue lacks, `example` among them.

    Raises:
      InputError: there is one.
    """
    if count:
        raise InputError(
            f"{source}: {count} interactions are with items that the catalogue lacks, e.g. {example!r}; "
            "add the items to the catalogue, or drop the interactions"
        )
