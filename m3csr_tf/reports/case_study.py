"""Case studies of users drawn at random: history, list, and which part of the score speaks for each item."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.reports.document import CaseStudy, Item
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)

USERS, HISTORY, PLACES = 3, 10, 10
"""Number of users of a study, of the latest items of a history, and of the first places of a list that are shown."""
LEAST_HISTORY = 5
"""Least number of training clicks of the users who may be drawn, if there are such users."""
_PIXELS = 96
_LARGEST_PICTURE = 8_000_000
"""Largest size in bytes of a picture's file that is opened."""


def draw_users(lists: pd.DataFrame, prepared: Prepared, seed: int) -> list[str]:
    """Draws users with a list at random, among those with at least LEAST_HISTORY training clicks if there are any.

    Args:
      lists: a table with the column user_id.
      prepared: the prepared data of the run.
      seed: the seed of the draw.
    """
    ids = lists[columns.USER_ID].drop_duplicates().to_numpy(dtype=object)
    rows = prepared.users.rows(ids)
    ids, rows = ids[rows != UNKNOWN_ROW], rows[rows != UNKNOWN_ROW]
    log = prepared.split(columns.TRAIN, np.sort(rows)) if len(rows) else pd.DataFrame({columns.USER_ROW: []})
    clicks = log[columns.USER_ROW].value_counts()
    active = ids[clicks.reindex(rows, fill_value=0).to_numpy() >= LEAST_HISTORY]
    ids = active if len(active) else ids
    chosen = np.random.default_rng(seed).permutation(len(ids))[:USERS]
    return [str(ids[position]) for position in chosen]


def studies(
    lists: pd.DataFrame,
    prepared: Prepared,
    seed: int,
    histories: Mapping[str, np.ndarray],
    intensities: Mapping[str, Mapping[str, float]],
    pictures: Path | None,
) -> list[CaseStudy]:
    """Makes a case study of each user.

    Args:
      lists: user_id, rank, item_id, score and part_<part>, as `retrieve` writes them.
      prepared: the prepared data of the run; titles, pictures and addresses come from its catalogue.
      seed: the seed of the draw of users.
      histories: user id -> item rows int [slots], oldest first.
      intensities: user id -> modality -> intensity; empty where the model has none.
      pictures: the folder that relative paths of pictures start from; None if no picture is to be opened.
    """
    parts = [name.removeprefix(columns.PART_PREFIX) for name in lists if name.startswith(columns.PART_PREFIX)]
    shown = Shown(prepared, pictures)
    made = []
    for user in histories:
        rows = histories[user]
        past = prepared.items.ids(rows[rows != PADDING_ROW][-HISTORY:][::-1])
        lists_of_user = lists[lists[columns.USER_ID] == user].nsmallest(PLACES, columns.RANK)
        listed = [
            shown.item(
                str(row[columns.ITEM_ID]),
                parts={part: float(row[columns.part_column(part)]) for part in parts},
                score=float(row[columns.SCORE]),
            )
            for _, row in lists_of_user.iterrows()
        ]
        made.append(
            CaseStudy(user, [shown.item(str(item)) for item in past], listed, parts, dict(intensities.get(user, {})))
        )
    return made


class Shown:
    """Items as people see them: with title, picture and address where the catalogue has them.

    Args:
      prepared: the prepared data of the run.
      pictures: see `studies`.
    """

    def __init__(self, prepared: Prepared, pictures: Path | None) -> None:
        self._prepared = prepared
        self._pictures = None if pictures is None else pictures.resolve()

    def item(self, item: str, parts: dict[str, float] | None = None, score: float | None = None) -> Item:
        """Returns an item by its id."""
        [row] = self._prepared.items.rows([item])
        if row == UNKNOWN_ROW:  # A refresh has added it after the run.
            return Item(item, note="not in the run's catalogue", parts=parts or {}, score=score)
        line = self._prepared.catalogue.iloc[row - FIRST_ROW]
        texts = {name: _text(line[name]) if name in line.index else "" for name in columns.DISPLAYED}
        clicks = int(line[columns.TRAIN_CLICKS])
        return Item(
            item,
            title=texts[columns.TITLE],
            image=self._picture(texts[columns.IMAGE]),
            url=texts[columns.URL],
            note="new: no training click" if clicks == 0 else f"{clicks:,} training click{'s' * (clicks != 1)}",
            parts=parts or {},
            score=score,
        )

    def _picture(self, address: str) -> str:
        """Returns a small copy of a picture from the catalogue's folder, as a data: address.

        If it cannot be read, that is logged and the result is empty. The picture is decoded and encoded again, so that
        nothing else that its file may hold gets into the page.
        """
        if not address or self._pictures is None or "://" in address:
            return ""
        path = (self._pictures / address).resolve()
        if not path.is_relative_to(self._pictures) or not path.is_file() or path.stat().st_size > _LARGEST_PICTURE:
            logger.warning(
                "picture %s is not shown: it is no file below %s of at most %s bytes",
                quoted(address),
                self._pictures,
                f"{_LARGEST_PICTURE:,}",
            )
            return ""
        try:
            with Image.open(path) as picture:
                picture.draft("RGB", (_PIXELS, _PIXELS))
                small = picture.convert("RGB")
            small.thumbnail((_PIXELS, _PIXELS))
            buffer = BytesIO()
            small.save(buffer, "JPEG", quality=80)
        except Exception as error:  # A broken file raises almost anything; its title is shown alone.
            logger.warning("picture %s is not shown: it cannot be read (%s)", quoted(address), type(error).__name__)
            return ""
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
