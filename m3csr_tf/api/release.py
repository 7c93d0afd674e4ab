"""A release that takes and returns data frames: lists, similar items, explanations and refreshes."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf import config as configuration
from m3csr_tf.api.doubts import warn_of_lists, warn_of_similar
from m3csr_tf.api.frames import Workspace, as_path, as_verb, ids_frame, without_numpy, workspace
from m3csr_tf.batch.query_items import file_of_queries
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.similar import similar
from m3csr_tf.config import Config
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.errors import InputError
from m3csr_tf.explain import explain_pair
from m3csr_tf.releases import release as releases
from m3csr_tf.releases.inbox import take_in
from m3csr_tf.releases.refresh import Refreshed
from m3csr_tf.releases.refresh import refresh as refresh_items
from m3csr_tf.training import run_files
from m3csr_tf.training.runs import read_finished
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import quoted
from m3csr_tf.verbs.explain import known_history
from m3csr_tf.verbs.retrieve import users_of

Ids: TypeAlias = "Collection[Any] | pd.Series | pd.Index | np.ndarray"


class Release:
    """A release, at its current version or, if it was opened by a number, at that version.

    Every call first takes in what has been refreshed since the last one.

    Args:
      release: the opened version.
      config: settings of the run that the release came from, whose log has users' histories; None if it is unavailable.
      follows: whether to open the current version anew when another one has been published.
    """

    def __init__(self, release: releases.Release, config: Config | None = None, follows: bool = True) -> None:
        self._release = release
        self._follows = follows
        folder = release.folder
        names: dict[str, Any] = {"run.release_folder": str(folder.parent), "run.release_name": folder.name}
        if config is None:
            names["run.name"] = release.manifest["run"]
        self._has_run = config is not None
        self._config = _as_released(configuration.with_settings(config or Config(), names), release)

    @property
    def folder(self) -> Path:
        """The folder of the release, `saved_models/<name>`."""
        return self._release.folder

    @property
    def version(self) -> int:
        """The number of the version."""
        return self._opened().version

    @property
    def modalities(self) -> dict[str, int]:
        """Modality -> width of its raw vectors."""
        return self._opened().modalities

    @property
    def items(self) -> pd.DataFrame:
        """The items that can be recommended now.

        Returns:
          A row for each item: item_id, view_count (-1 if unknown), publish_time (Unix seconds, NaN if unknown),
          popularity_bin, is_cold (now, by the settings `cold` that the version was released with; without them, whether
          the item is in bin 0), and the columns of the catalogue that the release keeps (`release.columns`), None where
          an item has no value.
        """
        store = self._opened().items
        ids = store.ids
        return pd.DataFrame(
            {
                columns.ITEM_ID: ids,
                columns.VIEW_COUNT: store.views(ids),
                columns.PUBLISH_TIME: store.publish_times(ids),
                columns.POPULARITY_BIN: store.bins(ids),
                columns.IS_COLD: store.is_cold(ids, self._config.cold, time.time()),
                **store.values(ids),
            }
        )

    def recommend(
        self,
        users: pd.DataFrame | Ids,
        n: int = 20,
        *,
        only: str = "all",
        cold_quota: float = 0.0,
        block: Ids | None = None,
        allow: Ids | None = None,
        cap: Mapping[str, int] | None = None,
        near_duplicates: float | None = None,
        cold: Mapping[str, Any] | None = None,
        max_age_days: float | None = None,
        now: Any = None,
    ) -> pd.DataFrame:
        """Makes top-N lists, as `pipelines/retrieve.py` does.

        Args:
          users: a frame of user_id, and optionally history (lists of item ids, oldest first) and exclusions (lists of
            item ids); or a collection of user ids. Histories that are not given come from the log of the run, which
            must be available, and the items that a user clicked there are left out of her list.
          n: length of the lists.
          only: "all" items, or "cold" for cold items alone.
          cold_quota: the least share of a list that cold items take, from 0 to 1.
          block: ids of items that may not be in any list.
          allow: ids of the only items that may be in a list.
          cap: column that the release keeps -> how many items of a list may share a value of it, e.g. {"author": 2}.
          near_duplicates: least cosine of the content of near-duplicates, e.g. 0.98; a list holds only the best one.
          cold: which items are cold, {"max_age_hours": 24, "max_views": 4000} or one of the two. None takes the
            settings that the version was released with, by default items without a click.
          max_age_days: largest age of a listed item, in days since it was published.
          now: the time from which ages are counted: a datetime (UTC if it has no time zone), an ISO 8601 text or Unix
            seconds; None takes the clock.

        Returns:
          A row for each place of a list: user_id, rank (from 1), item_id, score, model_version, and the parts of the
          score, which sum to it, e.g. part_id and part_<modality>.

        Raises:
          InputError: users or filters are malformed, histories are not available, or the release keeps no such column.
        """
        released = self._opened()
        with workspace() as place, as_verb(verbose=False):
            if isinstance(users, pd.DataFrame):
                frame = users
            else:
                frame = ids_frame(users, columns.USER_ID, "users", f"a frame with {columns.USER_ID}, or a list of ids")
            named = [*frame.columns, *frame.index.names]
            if columns.HISTORY not in named:
                self._require_run(f"give users a column {columns.HISTORY}")
            settings = self._filters("retrieve", place, n, only, cold_quota, block, allow, cold, max_age_days, now)
            settings["retrieve.users"] = str(place.table(frame, "users"))
            settings |= {"retrieve.cap": without_numpy(cap or {}), "retrieve.near_duplicates": near_duplicates}
            config = configuration.with_settings(self._config, settings)
            given = users_of(config, released)
            lists = place.folder / run_files.LISTS
            done = retrieve(released, given, lists, config.retrieve, config.index, cold=config.cold)
            warn_of_lists(done, released, given, config.retrieve, config.cold)
            return pd.read_parquet(done.folder)

    def similar(
        self,
        items: pd.DataFrame | Ids | str,
        n: int = 20,
        *,
        by: str = "vector",
        only: str = "all",
        cold_quota: float = 0.0,
        block: Ids | None = None,
        allow: Ids | None = None,
        cold: Mapping[str, Any] | None = None,
        max_age_days: float | None = None,
        now: Any = None,
    ) -> pd.DataFrame:
        """Finds the nearest items by cosine, as `pipelines/similar.py` does.

        Args:
          items: ids of items of the release, or a frame of videos that need not be in the release: item_id and the
            columns of vectors that the catalogue of the training had.
          n: length of the lists.
          by: what is compared: "vector", "content", or the name of a modality.
          only, cold_quota, block, allow, cold, max_age_days, now: as in `recommend`.

        Returns:
          A row for each place of a list: item_id, rank (from 1), similar_item_id, cosine, model_version, and the parts
          of the cosine. An item that lacks what is compared, or that is unknown to the release, has no row; a warning
          counts such items.

        Raises:
          InputError: items or filters are malformed, no item is known, or `by` is not a part of the vectors.
        """
        released = self._opened()
        with workspace() as place, as_verb(verbose=False):
            if isinstance(items, str):
                items = [items]
            path = place.table(items, "items") if isinstance(items, pd.DataFrame) else place.ids(items, "items")
            settings = self._filters("similar", place, n, only, cold_quota, block, allow, cold, max_age_days, now)
            config = configuration.with_settings(self._config, settings | {"similar.by": by})
            queries = file_of_queries(path, released)
            done = similar(released, queries, place.folder / run_files.SIMILAR_ITEMS, config.similar, cold=config.cold)
            warn_of_similar(done, released, config.similar, config.cold)
            return pd.read_parquet(done.folder)

    def explain(self, user: str, item: str, history: Sequence[str] | None = None) -> pd.DataFrame:
        """Explains why an item has its score for a user, as `pipelines/explain.py` does.

        Args:
          user: id of the user, known to the release or not.
          item: id of an item of the release.
          history: item ids, oldest first; None takes the user's history in the log of the run, which must be available.

        Returns:
          A row for each part of the score, indexed by part: score, and, if the model explains its scores, intensity,
          cluster (<NA> if the item lacks the modality) and attention (history item -> weight). The parts sum to the
          score of the pair. `frame.attrs["explanation"]` holds all that `--json` prints (docs/explain.md).

        Raises:
          InputError: an id or the history is malformed, the release lacks the item, or the history is not available.
        """
        released = self._opened()
        for what, one in (("user", user), ("item", item)):
            if not isinstance(one, str) or not one:
                raise InputError(f"explain: {what} is {quoted(one)}; expected its id, a text")
        with as_verb(verbose=False):
            if history is None:
                self._require_run("give the history")
                past = known_history(self._config, released, user)
            else:
                given = ids_frame(history, columns.ITEM_ID, "explain: history", "a list of item ids")
                past = given[columns.ITEM_ID].tolist()
                if not all(isinstance(one, str) for one in past):
                    raise InputError(f"explain: history is {quoted(history)}; expected a list of item ids, each a text")
            said = explain_pair(released, user, item, past)
        frame = pd.DataFrame({columns.SCORE: said.parts}).rename_axis("part")
        if said.explains:
            frame["intensity"] = pd.Series(said.intensities, dtype=float)
            frame["cluster"] = pd.Series(said.clusters, dtype="Int64")
            frame["attention"] = pd.Series(
                {part: {one.item: one.weight for one in items} for part, items in said.attention.items()}, dtype=object
            )
        frame.attrs["explanation"] = said.to_json()
        return frame

    def refresh(self, items: pd.DataFrame | None = None, removed: Ids = ()) -> pd.DataFrame:
        """Takes new, changed and removed items into the live index, as `pipelines/refresh.py` does.

        Args:
          items: item_id, and any of view_count, publish_time, the columns of vectors of the training's catalogue, the
            columns that the release keeps, and removed (bool).
          removed: ids of items to remove.

        Returns:
          One row of counts of items: new, changed, removed, absent (they were to be removed, but the release did not
          hold them) and items (those that the release holds now); and the time it took, seconds.

        Raises:
          InputError: nothing is given, or something is malformed; nothing has changed then. Only a vector that is not
            finite, and the removal of all items, are found after earlier items were taken in.
          ReleaseError: this version is not the current one.
        """
        gone = ids_frame(removed, columns.ITEM_ID, "removed", "a list of item ids")
        if items is None and gone.empty:
            raise InputError("refresh: nothing to do; give items, removed, or both")
        released = self._opened()
        done: list[Refreshed] = []
        with workspace() as place, as_verb(verbose=False):
            path = None if items is None else place.table(items, "items")
            given = [] if gone.empty else read_ids(place.table(gone, "removed"))
            if path is not None:
                with progress("refreshing") as stage:
                    done += take_in(released, path, stage)
            if given:
                done.append(refresh_items(released, removed=given, source="removed"))
        counts = {name: sum(getattr(one, name) for one in done) for name in ("new", "changed", "removed", "absent")}
        seconds = sum(one.seconds for one in done)
        return pd.DataFrame([{**counts, "items": len(released.index), "seconds": seconds}])

    def __repr__(self) -> str:
        run = self._release.manifest["run"]
        return f"<m3csr_tf release {self.folder}, version {self._release.version} of run {run}>"

    def _opened(self) -> releases.Release:
        """Returns the version that the class promises, with all that has been refreshed by now."""
        with as_verb(verbose=False):
            if self._follows and not releases.is_current(self._release):
                self._release = releases.open_release(self.folder)
                self._config = _as_released(self._config, self._release)
            self._release.catch_up()
        return self._release

    def _require_run(self, otherwise: str) -> None:
        """Refuses to take histories from a run that is not available; the message proposes `otherwise` instead."""
        if not self._has_run:
            raise InputError(
                f"{self.folder}: histories come from the run that was released, which is not at hand; {otherwise}, or "
                f"open the release with that run, open_release(..., run='runs/{self._release.manifest['run']}')"
            )

    def _filters(
        self,
        section: str,
        place: Workspace,
        n: int,
        only: str,
        cold_quota: float,
        block: Ids | None,
        allow: Ids | None,
        cold: Mapping[str, Any] | None,
        max_age_days: float | None,
        now: Any,
    ) -> dict[str, Any]:
        """Returns the settings of a section ("retrieve" or "similar") for arguments that both calls take."""
        settings: dict[str, Any] = {"top_n": n, "only": only, "cold_quota": cold_quota}
        settings = without_numpy(settings | {"max_age_days": max_age_days, "now": now})
        for name, ids in (("block", block), ("allow", allow)):
            if ids is not None:
                settings[name] = str(place.ids(ids, name))
        named = {f"{section}.{name}": value for name, value in settings.items()}
        return named if cold is None else named | {"cold": cold}


def open_release(folder: str | Path, version: int | None = None, run: str | Path | None = None) -> Release:
    """Opens a release after checking every file of it.

    Args:
      folder: `saved_models/<name>`.
      version: number of the version. None opens the current version, and follows later ones as they are published.
      run: folder of the run that the release came from, `runs/<name>`, if histories are to come from its log.

    Raises:
      InputError: a path or the version has another type.
      ReleaseError: a part is missing, incomplete, changed, or belongs to another release.
      RunError: there is no such run.
    """
    place = as_path(folder, "open_release: folder")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | np.integer)):
        raise InputError(f"open_release: version is {quoted(version)}; expected a whole number, e.g. 3")
    with as_verb(verbose=False):
        config = None if run is None else _config_of(as_path(run, "open_release: run"))
        with progress("opening the release"):
            released = releases.open_release(place, None if version is None else int(version))
    return Release(released, config, follows=version is None)


def _as_released(config: Config, release: releases.Release) -> Config:
    """Returns the configuration with the settings of section `cold` that a version was released with."""
    return configuration.with_settings(config, {"cold": release.manifest["config"].get("cold", {})})


def _config_of(folder: Path) -> Config:
    """Returns the settings of a run, with the names of the folder in which the run lies now."""
    config, _, _ = read_finished(folder)
    return configuration.with_settings(config, {"run.folder": str(folder.parent), "run.name": folder.name})
