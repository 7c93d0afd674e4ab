"""Computes from a run's model what the figures of its report show, as arrays and data frames (`reports.evidence`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import columns, exposure
from m3csr_tf.data.audience import Audience, read_clicks
from m3csr_tf.evaluation.popularity import found_by_bin
from m3csr_tf.evaluation.subsets import curves_by_subset
from m3csr_tf.evaluation.user_draw import drawn_users
from m3csr_tf.ids import FIRST_ROW, NO_ITEM
from m3csr_tf.models.m3csr.layout import ID_PART
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.reports.case_study import PLACES, draw_users
from m3csr_tf.reports.evidence import Evidence
from m3csr_tf.reports.figures.popularity import bin_names
from m3csr_tf.reports.run_files import RunFiles
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import UserVectors, VectorEncoder
from m3csr_tf.util.progress import PERCENT, ProgressCallback, progress, share
from m3csr_tf.util.samples import sample

_AT = 20
"""Largest length of the lists whose recall is shown."""
_COUNTED = {"train_clicks": "training clicks", "train_weight": "training clicks by weight", "view_count": "views"}
"""What popularity bins count, by their source."""
_MOST_USERS, _SCORES = 2_000, 200_000_000
"""Largest number of users whose lists are evaluated, and largest number of user-item pairs of one ranking; both bound
the time to some seconds."""
_POINTS = 600
"""Number of items in the t-SNE, whose time grows with it."""
_BARS = 10
"""Number of users whose intensities are shown, as in Figure 6 of the paper."""


def gather(trained: TrainedRun, run: RunFiles) -> Evidence:
    """Computes what the figures of a run show; where the model lacks something, the evidence says why.

    Item vectors include the bonuses that the evaluation of the run found, like those of a release.

    Args:
      trained: the run.
      run: the files of its evaluation.
    """
    with progress("vectors for the figures"):
        gathering = _Gathering(trained, run)
    with progress(f"rankings for the figures, {PERCENT}") as stage:
        return gathering.evidence(stage)


def gather_of_experiment(trained: TrainedRun, run: RunFiles) -> Evidence:
    """Computes what an experiment's figures of a model show: without rankings of test users, but with top-N lists.

    The experiment has rankings of all systems already. The lists are exact, because the runs of an experiment have no
    release, and are made only for the users of the case study, who are drawn from the test users.
    """
    with progress("vectors for the figures"):
        return _Gathering(trained, run).evidence_of_experiment()


class _Gathering:
    """The run, its vectors, and a sample of its test users."""

    def __init__(self, trained: TrainedRun, run: RunFiles) -> None:
        self._config, self._prepared, self._run = trained.config, trained.prepared, run
        self._model = trained.model
        self._seed = trained.config.run.seed
        self._encoder = VectorEncoder(trained.model, item_features(trained.prepared))
        self._items = self._encoder.items()
        bonuses = np.array(run.metrics.get("exposure", {}).get("bonuses", ()), np.float32)
        if bonuses.any():
            self._items = exposure.with_bonuses(self._items, trained.prepared, bonuses)
        self._audience = Audience(trained.prepared, trained.config, (columns.TRAIN,))
        most = max(1, min(_MOST_USERS, _SCORES // len(self._items)))
        users, _ = drawn_users(trained.prepared, columns.TEST, trained.config.evaluation)
        self._users = sample(users, most, self._seed)

    def evidence(self, on_progress: ProgressCallback) -> Evidence:
        lacking: dict[str, str] = {}
        curves = by_popularity = None
        if len(self._users):
            curves, by_popularity = self._measured(on_progress)
        else:
            lacking["Recall by modalities and by popularity"] = "the test split is empty"
        if len(self._users) and curves is None:
            lacking["Recall by modalities"] = "no part of the model's vectors belongs to one modality"
        found = self._of_model(self._run.lists)
        return replace(
            found,
            curves=curves,
            curve_users=len(self._users),
            by_popularity=by_popularity,
            lacking=lacking | found.lacking,
        )

    def evidence_of_experiment(self) -> Evidence:
        lists = self._exact_lists()
        found = self._of_model(lists)
        if lists.empty:
            found.lacking["Case study"] = "the users who were drawn for it know every item"
        return replace(found, lists=lists)

    def _of_model(self, lists: pd.DataFrame | None) -> Evidence:
        """Returns all evidence except rankings; the case study's users are drawn from those in `lists`."""
        lacking: dict[str, str] = {}
        ids, vectors = self._vectors()
        if vectors is None:
            lacking["t-SNE"] = "fewer than 10 items have clicks and every modality"
        histories, shares, case_intensities = self._case(lists), None, {}
        if self._model.weighs_modalities:
            shares = self._intensities(sample(self._users, _BARS, self._seed), self._audience)
            case_intensities = self._case_intensities(histories)
        else:
            lacking["Interest intensities"] = "the model has none"
        gate = self._gate()
        if gate is None:
            lacking["Popularity gate"] = "the model has none"
        return Evidence(
            vectors=vectors,
            vector_ids=ids,
            intensities=shares if shares is not None and len(shares) else None,
            gate=gate,
            counted=_COUNTED[self._prepared.popularity.source],
            histories=histories,
            case_intensities=case_intensities,
            lacking=lacking,
        )

    def _measured(self, on_progress: ProgressCallback) -> tuple[pd.DataFrame | None, pd.DataFrame]:
        """Returns curves by subset of modalities (None if no part of a vector is a modality's), and recall by bin."""
        prepared, users = self._prepared, self._users
        truth = read_clicks(prepared, columns.TEST, users, self._config.evaluation.kinds)
        seen = read_clicks(prepared, columns.TRAIN, users)
        candidates = np.arange(len(prepared.items)) >= FIRST_ROW
        ranking = {"seen": seen, "candidates": candidates, "seed": self._seed, "block": self._config.evaluation.block}
        vectors = UserVectors(self._encoder, self._audience)[users]
        curves, modalities = None, [name for name in prepared.modalities if name in self._model.layout]
        # The curves and the recall by bin of each system are counted as three parts of equal length.
        if modalities:
            curves = curves_by_subset(
                vectors,
                self._items,
                parts=self._model.layout,
                modalities=modalities,
                truth=truth,
                longest=_AT,
                on_progress=share(on_progress, 0, 3),
                **ranking,
            )
        clicks = prepared.train_clicks.astype(np.float32)[:, None]
        systems = {
            self._run.model: (vectors, self._items),
            "popularity": (np.ones((len(users), 1), np.float32), clicks),
        }
        names = bin_names(prepared.popularity.edges.tolist())
        table = pd.DataFrame({"bin": names})
        for place, (system, pair) in enumerate(systems.items(), 1):
            ranked = top_n(*pair, _AT, on_progress=share(on_progress, place, 3), **ranking)
            found, every = found_by_bin(ranked, truth, self._bins(), len(names))
            table["clicks"] = every
            table[system] = np.where(every > 0, found / np.maximum(every, 1), np.nan)
        return curves, table

    def _bins(self) -> np.ndarray:
        return np.asarray(self._prepared.bins)

    def _vectors(self) -> tuple[list[str], dict[str, np.ndarray] | None]:
        """Returns ids, scaled content and id vectors of sampled items that have clicks and all modalities."""
        prepared = self._prepared
        whole = (prepared.train_clicks > 0) & (prepared.cluster_ids > 0).all(axis=1)
        rows = sample(np.flatnonzero(whole), _POINTS, self._seed)
        if len(rows) < 10:
            return [], None
        found = {name: np.asarray(prepared.scaler.transform(name, raw[rows])) for name, raw in prepared.content.items()}
        part_slice = self._model.layout.get(ID_PART)
        ids = [str(item) for item in prepared.items.ids(rows)]
        return ids, found if part_slice is None else found | {ID_PART: self._items[rows, part_slice]}

    def _intensities(self, rows: np.ndarray, audience: Audience) -> pd.DataFrame:
        """Returns the intensities of users, indexed by user id; `rows` must ascend."""
        values = self._encoder.intensities(rows, audience.histories(rows))
        return pd.DataFrame(values, index=self._prepared.users.ids(rows), columns=self._prepared.modalities)

    def _gate(self) -> pd.DataFrame | None:
        """Returns the gate of equation 10 by popularity bin, with the number of items; None if the model has none."""
        gate = self._model.item_tower.gate if self._model.explains else None
        if gate is None:
            return None
        bins = self._prepared.popularity.count
        return pd.DataFrame(
            {
                "bin": bin_names(self._prepared.popularity.edges.tolist()),
                "items": np.bincount(self._bins()[FIRST_ROW:], minlength=bins),
                "gate": gate(tf.range(bins)).numpy()[:, 0],
            }
        )

    def _exact_lists(self) -> pd.DataFrame:
        """Returns exact lists of the case study's users, in the columns of `retrieve` and without clicked items."""
        prepared = self._prepared
        everyone = self._users if len(self._users) else np.arange(FIRST_ROW, len(prepared.users))[:_MOST_USERS]
        drawn = draw_users(pd.DataFrame({columns.USER_ID: prepared.users.ids(everyone)}), prepared, self._seed)
        served = Audience(prepared, self._config, columns.SPLITS)
        rows = np.sort(prepared.users.rows(drawn))
        vectors = UserVectors(self._encoder, served)[rows]
        candidates = np.arange(len(prepared.items)) >= FIRST_ROW
        ranked = top_n(vectors, self._items, PLACES, seen=served.clicks(rows), candidates=candidates, seed=self._seed)
        user, position = np.nonzero(ranked != NO_ITEM)
        items = ranked[user, position]
        parts = {
            columns.part_column(part): np.einsum("nd,nd->n", vectors[user, where], self._items[items, where])
            for part, where in self._model.layout.items()
        }
        return pd.DataFrame(
            {
                columns.USER_ID: prepared.users.ids(rows)[user],
                columns.RANK: position + 1,
                columns.ITEM_ID: prepared.items.ids(items),
                columns.SCORE: np.einsum("nd,nd->n", vectors[user], self._items[items]),
                **parts,
            }
        )

    def _case(self, lists: pd.DataFrame | None) -> dict[str, np.ndarray]:
        """Returns the histories of the case study's users up to the end of the log, as their lists use them."""
        if lists is None or lists.empty:
            return {}
        users = draw_users(lists, self._prepared, self._seed)
        served = Audience(self._prepared, self._config, columns.SPLITS)
        rows = self._prepared.users.rows(users)
        order = np.argsort(rows)
        histories = served.histories(rows[order])
        return {users[user_position]: histories[line] for line, user_position in enumerate(order)}

    def _case_intensities(self, histories: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
        if not histories:
            return {}
        rows = np.sort(self._prepared.users.rows(list(histories)))
        table = self._intensities(rows, Audience(self._prepared, self._config, columns.SPLITS))
        return {user: {name: float(value) for name, value in line.items()} for user, line in table.iterrows()}
