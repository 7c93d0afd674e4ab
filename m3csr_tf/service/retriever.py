"""A release in memory that answers queries, by the code of the batch jobs, and follows its journal.

Whatever searches or changes the index runs in one thread, `searching`. What takes long, such as an index of cold items
alone, is built in another one, `building`, from an index that does not change meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from m3csr_tf.batch.known import KnownIds
from m3csr_tf.batch.lists import ListMaker, RankedLists
from m3csr_tf.config import ColdConfig, RetrieveConfig, ServiceConfig
from m3csr_tf.errors import InputError
from m3csr_tf.explain import explain_pair
from m3csr_tf.export.requests import ContentLookup, UserInputs
from m3csr_tf.ids import NO_ITEM, UNKNOWN_ROW
from m3csr_tf.releases.release import Release
from m3csr_tf.service.given_content import GivenContent, vectors_of
from m3csr_tf.service.schemas import RecommendQuery, UserQuery, recommend_query
from m3csr_tf.service.selections import Selections, State, Superseded, Wanted
from m3csr_tf.util.quoting import quoted

STEP, MOST_STEPS = 16, 100
"""A refresh is taken in by so many items between two searches, or by more, so that it does not have too many steps.

With 200,000 items in a tree, 64 items take some 10 ms.
"""


class UserTowers(Protocol):
    """What computes user vectors: a `Release`, or a `TowersClient`."""

    def user_vectors(self, users: UserInputs, items: ContentLookup | None = None) -> np.ndarray:
        """See `Release.user_vectors`."""
        ...


class Retriever:
    """Answers from one release.

    Args:
      release: an opened release, which nothing else uses from now on.
      retrieve: which items may be listed (`retrieve.block`, `retrieve.allow`), and what queries ask for by default.
      cold: which items are cold; those without a click if None.
      towers: what computes user vectors; the release itself by default.
      service: limits of queries, and how far ages may lag behind the clock.

    Raises:
      InputError: the filters or rules that are set cannot be applied to the release (`Selections`).
    """

    def __init__(
        self,
        release: Release,
        retrieve: RetrieveConfig,
        cold: ColdConfig | None = None,
        towers: UserTowers | None = None,
        service: ServiceConfig | None = None,
    ) -> None:
        self.release = release
        self.known = KnownIds(release)
        self.searching = ThreadPoolExecutor(1, "search")
        self.building = ThreadPoolExecutor(1, "build")
        self.unchanging = threading.Lock()
        """Held while the index must stay as it is."""
        self._towers: UserTowers = release if towers is None else towers
        service = service or ServiceConfig()
        self._selections = Selections(release, retrieve, cold or ColdConfig(), service.age_lag_s)
        self._usual: type[RecommendQuery] = recommend_query(service, retrieve)
        self._builds: dict[Wanted, asyncio.Future[None]] = {}

    @property
    def position(self) -> int:
        """Segments of the journal that the answers take into account."""
        return self.release.position

    def warm_up(self) -> None:
        """Loads all parts, and computes lists of some sizes: the first calls of TensorFlow take long.

        What queries need that leave all fields at their defaults is made as well.
        """
        items = [str(item) for item in self.release.index.ids[:2]]
        for wanted in self._selections.wanted(self._usual.model_validate({"users": [{"user_id": "user"}]})):
            self._build(wanted)
        for users in (1, 2, 8):
            some = [UserQuery(user_id=f"user {number}", history=items) for number in range(users)]
            self.recommend([RecommendQuery(users=some, n=20, parts=True)])
        self.release.item_vectors(self.release.items.catalogue(np.asarray(items, dtype=object)))
        self.release.index.prepare_changes()

    async def catch_up(self) -> int:
        """Takes in what was refreshed since, in steps between which searches go on; returns how many items changed.

        It does nothing while something is being built, and will be called again soon.

        Raises:
          ReleaseError: the journal is broken.
        """
        if not self.unchanging.acquire(blocking=False):
            return 0
        loop = asyncio.get_running_loop()
        changed = 0
        try:
            segments = self.release.unread()
            while (found := await loop.run_in_executor(None, next, segments, None)) is not None:
                steps = self.release.take_in(*found, max(STEP, len(found[1]) // MOST_STEPS))
                began = loop.time()
                while count := await loop.run_in_executor(self.searching, self._step, steps):
                    changed += count
                    await asyncio.sleep(loop.time() - began)  # As long again is left for searches.
                    began = loop.time()
        finally:
            self.unchanging.release()
        return changed

    def _step(self, steps: Iterator[int]) -> int:
        """Takes the next step of a segment; returns how many items it changed, 0 after the last one."""
        try:
            return next(steps, 0)
        finally:
            self._selections.clear()

    async def prepare(self, query: RecommendQuery) -> None:
        """Waits until what the filters and rules of a query need is at hand.

        Raises:
          InputError: the release lacks what a rule looks at.
        """
        self._selections.check(query)
        waited_for = []
        for wanted in self._selections.wanted(query):
            state = self._selections.state(wanted)
            if state is not State.READY:
                build = self._building(wanted)
                if state is State.MISSING:
                    waited_for.append(build)
        for build in waited_for:
            await asyncio.shield(build)

    def recommend(self, queries: Sequence[RecommendQuery]) -> list[dict[str, Any] | Exception]:
        """Makes the lists of several queries with one call of the user tower and as few searches as possible.

        Returns:
          For each query its answer as JSON (`schemas.RecommendAnswer`), or why there is none.
        """
        # Read here, where no step of a refresh can come between it and the lists.
        version, position = self.release.version, self.position
        answers: list[dict[str, Any] | Exception] = [{} for _ in queries]
        users = [user for query in queries for user in query.users]
        owners = np.repeat(np.arange(len(queries)), [len(query.users) for query in queries])
        given = UserInputs(
            np.array([user.user_id for user in users], dtype=object),
            np.fromiter((user.history for user in users), object, len(users)),
        )
        vectors = np.zeros([len(users), self.release.width], np.float32)
        plain = np.array([not user.content for user in users])
        if plain.any():
            vectors[plain] = self._towers.user_vectors(given.at(plain), self.release.items)
        for place in np.flatnonzero(~plain):
            try:
                vectors[place] = self._vector_by_content(users[place], given.at(np.array([place])))
            except InputError as error:
                answers[owners[place]] = error
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, query in enumerate(queries):
            if isinstance(answers[number], dict):
                # Without a quota a shorter list is the beginning of a longer one.
                quota = query.cold_quota, query.n if query.cold_quota else None
                rules = tuple(sorted(query.cap.items())), query.near_duplicates
                alike = (query.only, query.max_age_days, *quota, *rules)
                groups.setdefault(alike, []).append(number)
        for numbers in groups.values():
            some = [queries[number] for number in numbers]
            places = np.flatnonzero(np.isin(owners, numbers))
            try:
                lists = iter(self._lists(some, given.at(places), vectors[places]))
            except (Superseded, InputError) as error:
                for number in numbers:
                    answers[number] = error
                continue
            for number, query in zip(numbers, some, strict=True):
                users_lists = [next(lists) for _ in query.users]
                answers[number] = {"version": version, "position": position, "users": users_lists}
        return answers

    def explain(self, user: str, item: str, history: Sequence[str]) -> dict[str, Any] | None:
        """Why an item has its score for a user, as JSON (`explain.Explanation`). Runs in `searching`.

        Returns:
          The explanation; None if the release lacks the item.
        """
        if self.release.index.rows([item])[0] < 0:
            return None
        # No file is read: the version may have been pruned, and the file of users is as long as they are many.
        [known] = self._knows(np.array([user], dtype=object))
        return explain_pair(self.release, user, item, history, bool(known)).to_json()

    def close(self) -> None:
        """Ends the threads, once they have done what they are at."""
        self.searching.shutdown(wait=False, cancel_futures=True)
        self.building.shutdown(wait=False, cancel_futures=True)

    def _lists(self, queries: Sequence[RecommendQuery], users: UserInputs, vectors: np.ndarray) -> list[dict[str, Any]]:
        """The lists of all users of queries with equal filters, cut to the length that each query asks for."""
        selection, rules = self._selections.selection(queries[0]), self._selections.rules(queries[0])
        maker = ListMaker(self.release, selection, max(query.n for query in queries), rules)
        asked = [user for query in queries for user in query.users]
        history = maker.ids_of(users.histories)
        exclusions = maker.ids_of(np.fromiter((user.exclude for user in asked), object, len(asked)))
        rows, scores = maker.nearest(vectors, maker.seen(history, exclusions))
        parts = None
        if any(query.parts for query in queries):
            parts = maker.score_parts(RankedLists(users.ids, vectors, rows, scores, maker.length))
        unknown = np.zeros(len(users), np.int64)
        for ids in (history, exclusions):
            for place in self.known.unknown(ids):
                owner = ids.owners[place]
                unknown[owner] += ids is exclusions or ids.items[place] not in asked[owner].content
        is_known = self._knows(users.ids)
        item_ids, layout = self.release.index.ids, list(self.release.layout)
        answers: list[dict[str, Any]] = []
        for query in queries:
            for user in query.users:
                at = len(answers)
                length = min(query.n, int((rows[at] != NO_ITEM).sum()))
                listed = item_ids[rows[at, :length]].tolist()
                items: list[dict[str, Any]] = [
                    {"item_id": item, "score": score}
                    for item, score in zip(listed, scores[at, :length].tolist(), strict=True)
                ]
                if query.parts and parts is not None:
                    of_items = parts[:, at, :length].T.tolist()
                    for item, values in zip(items, of_items, strict=True):
                        item["parts"] = dict(zip(layout, values, strict=True))
                answers.append(
                    {
                        "user_id": user.user_id,
                        "known": bool(is_known[at]),
                        "unknown_ids": int(unknown[at]),
                        "items": items,
                    }
                )
        return answers

    def _vector_by_content(self, user: UserQuery, given: UserInputs) -> np.ndarray:
        """The vector of a user who brings content, on which nobody else's vector must depend, float32 [D]."""
        strange = [item for item in user.content if item not in set(user.history)]
        if strange:
            raise InputError(f"content has item {quoted(strange[0])}, which is not in the history of its user")
        ids = list(user.content)
        called = [f"content of item {quoted(item)}" for item in ids]
        content = vectors_of([user.content[item] for item in ids], self.release.modalities, called)
        items = GivenContent(ids, content, self.release.items)
        [vector] = self._towers.user_vectors(given, items)
        if not np.isfinite(vector).all():
            raise InputError("the user tower gives no finite vector for the content that is given; check its numbers")
        return np.asarray(vector)

    def _building(self, wanted: Wanted) -> asyncio.Future[None]:
        """The build of something that queries need, which begins now if it is not under way."""
        if wanted not in self._builds:
            build = asyncio.get_running_loop().run_in_executor(self.building, self._build, wanted)
            self._builds[wanted] = build
            build.add_done_callback(lambda done: forget(self._builds, wanted, done))
        return self._builds[wanted]

    def _build(self, wanted: Wanted) -> None:
        with self.unchanging:
            self._selections.make(wanted)

    def _knows(self, users: np.ndarray) -> np.ndarray:
        table = self.known.users
        return np.ones(len(users), dtype=bool) if table is None else table.rows(users) != UNKNOWN_ROW


def forget(builds: dict[Any, asyncio.Future[Any]], key: Any, done: asyncio.Future[Any]) -> None:
    """Removes a build that has ended; an error of it is known to whoever waited for it."""
    del builds[key]
    if not done.cancelled():
        done.exception()


def open_retriever(
    folder: Path, version: int, retrieve: RetrieveConfig, cold: ColdConfig, service: ServiceConfig
) -> Retriever:
    """Opens and warms up a version of a release.

    Args:
      folder: `saved_models/<name>`.
      version: the number of the version.
      retrieve, cold: as in `Retriever`.
      service: limits, and the address of a TF Serving that computes user vectors, if one does.

    Raises:
      ReleaseError: the release cannot be opened.
      InputError: as in `Retriever`.
      ServingError: TF Serving does not answer for this version.
    """
    from m3csr_tf.releases.release import open_release

    release = open_release(folder, version)
    towers = None
    if service.towers is not None:
        from m3csr_tf.serving.client import TowersClient

        towers = TowersClient(service.towers, release, service.timeout_s)
    retriever = Retriever(release, retrieve, cold, towers, service)
    retriever.warm_up()
    return retriever
