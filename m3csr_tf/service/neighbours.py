"""Similar items online: finders of neighbours, built when first asked for and, in the background, when items change.

A finder knows the items as they were when it was built, and who was cold or too old then. While a newer one is being
built, the older one answers; where ages matter, not beyond `service.age_lag_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch.cosine import CosineSpace
from m3csr_tf.batch.query_items import QueryItemBatch
from m3csr_tf.batch.similar import SimilarItems
from m3csr_tf.config import ColdConfig, SimilarConfig
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, Catalogue
from m3csr_tf.errors import InputError
from m3csr_tf.service.given_content import vectors_of
from m3csr_tf.service.retriever import Retriever, forget
from m3csr_tf.service.schemas import ItemQuery, SimilarQuery
from m3csr_tf.service.selections import NothingLeft, State, opened_filters, state_of_ages
from m3csr_tf.util.quoting import quoted


class _Built(NamedTuple):
    position: int
    taken: float | None
    finder: SimilarItems
    ids: pd.Index


class OnlineNeighbours:
    """Finds similar items of the release of a retriever.

    Args:
      retriever: it.
      config: which items may be listed.
      comparisons: what queries may compare by (`service.similar_by`).
      cold: which items are cold; those without a click if None.
      age_lag: seconds by which ages may lag behind the clock.

    Raises:
      InputError: the filters cannot be applied to the release (`opened_filters`), or it has nothing of what is to be
        compared.
    """

    def __init__(
        self,
        retriever: Retriever,
        config: SimilarConfig,
        comparisons: Sequence[str],
        cold: ColdConfig | None = None,
        age_lag: float = 60.0,
    ) -> None:
        self._retriever = retriever
        self._config = config
        self._age_lag = age_lag
        self._filters = opened_filters(retriever.release, config, cold or ColdConfig())
        for by in comparisons:
            CosineSpace.of(retriever.release, by)
        self._built: dict[str, _Built] = {}
        self._builds: dict[str, asyncio.Future[_Built]] = {}

    async def find(self, query: SimilarQuery) -> dict[str, Any]:
        """The nearest items, as JSON (`schemas.SimilarAnswer`).

        Raises:
          NothingLeft: the filters leave no item that could be compared.
          InputError: content is malformed.
        """
        loop = asyncio.get_running_loop()
        built = self._built.get(query.by)
        ages = State.MISSING if built is None else state_of_ages(built.taken, self._age_lag)
        if built is None or ages is not State.READY or built.position != self._retriever.position:
            if query.by not in self._builds:
                self._builds[query.by] = loop.run_in_executor(self._retriever.building, self._build, query.by)
                self._builds[query.by].add_done_callback(lambda done: forget(self._builds, query.by, done))
            if built is None or ages is State.MISSING:
                built = await asyncio.shield(self._builds[query.by])
        return await loop.run_in_executor(self._retriever.searching, self._answer, built, query)

    def _build(self, by: str) -> _Built:
        with self._retriever.unchanging:
            release = self._retriever.release
            taken = self._filters.ages.clock()
            filters = replace(self._filters, ages=self._filters.ages.at(taken))
            try:
                finder = SimilarItems(release, by, self._config.top_n, filters)
            except InputError as error:
                raise NothingLeft(str(error)) from None
            self._built[by] = _Built(release.position, taken, finder, pd.Index(release.index.ids))
        return self._built[by]

    def _answer(self, built: _Built, query: SimilarQuery) -> dict[str, Any]:
        lists: list[dict[str, Any]] = [{} for _ in query.items]
        by_content = np.array([item.content is not None for item in query.items])
        for given in (True, False):
            places = np.flatnonzero(by_content == given)
            if not len(places):
                continue
            some = [query.items[place] for place in places]
            for place, found in zip(places, self._lists(built, some, given, query.n), strict=True):
                lists[place] = found
        version = self._retriever.release.version
        return {"version": version, "position": built.position, "by": query.by, "items": lists}

    def _lists(self, built: _Built, items: Sequence[ItemQuery], by_content: bool, n: int) -> list[dict[str, Any]]:
        ids = np.array([item.item_id for item in items], dtype=object)
        found = built.finder.find(QueryItemBatch(ids, self._catalogue(items) if by_content else None), n)
        table = built.finder.table(found)
        parts = {name: table[columns.part_column(name)].to_pylist() for name in built.finder.space.parts}
        listed = [
            {"item_id": item, "cosine": cosine, "parts": {name: values[row] for name, values in parts.items()}}
            for row, (item, cosine) in enumerate(
                zip(table[columns.SIMILAR_ITEM_ID].to_pylist(), table[columns.COSINE].to_pylist(), strict=True)
            )
        ]
        ends = np.cumsum((found.rows >= 0).sum(axis=1))
        known = built.ids.get_indexer(ids) >= 0
        return [
            {
                "item_id": item,
                "known": bool(known[row]),
                "compared": bool(found.unit[row].any()),
                "items": listed[0 if row == 0 else ends[row - 1] : ends[row]],
            }
            for row, item in enumerate(ids.tolist())
        ]

    def _catalogue(self, items: Sequence[ItemQuery]) -> Catalogue:
        release = self._retriever.release
        ids = [item.item_id for item in items]
        release.check_placed(np.array(ids, dtype=object), "content")
        called = [f"content of item {quoted(item)}" for item in ids]
        content = vectors_of([item.content or {} for item in items], release.modalities, called)
        views = [UNKNOWN_VIEWS if item.view_count is None else item.view_count for item in items]
        frame = pd.DataFrame({columns.ITEM_ID: pd.Series(ids, dtype=object), columns.VIEW_COUNT: views})
        return Catalogue(frame.astype({columns.VIEW_COUNT: np.int64}), content)
