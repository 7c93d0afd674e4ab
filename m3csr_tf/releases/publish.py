"""Publishes a trained run: exports the towers, builds the index from the exported item tower, adds a manifest."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import __version__, columns
from m3csr_tf.config import Config
from m3csr_tf.data import formats
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ReleaseError
from m3csr_tf.export.signatures import ItemServing, UserServing
from m3csr_tf.export.towers import SavedItemTower, SavedUserTower
from m3csr_tf.export.warmup import write_warmup
from m3csr_tf.exposure import model_with_bonuses
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW
from m3csr_tf.index import ItemIndex, build_index
from m3csr_tf.models.contract import Recommender
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases import sample
from m3csr_tf.releases.carry_over import new_by_refresh
from m3csr_tf.releases.items import ItemStore
from m3csr_tf.releases.kept_values import by_id
from m3csr_tf.releases.release import ITEMS_FOLDER, Release, open_release
from m3csr_tf.releases.versions import commit, current, free_version, publishing
from m3csr_tf.util.files import sha256
from m3csr_tf.util.progress import progress
from m3csr_tf.util.refusals import behind, in_short, reason

SAMPLE_USERS = 2000
"""Number of users on whose vectors the recall of a tree is measured."""


EMBEDDED_AT_ONCE = 65_536
"""Number of items whose raw content is in memory at once."""


class Trained(Protocol):
    """A trained run: its settings, its prepared data, and the model with the weights to release."""

    @property
    def config(self) -> Config:
        """The settings of the run."""
        ...

    @property
    def prepared(self) -> Prepared:
        """The prepared data that the model was trained on."""
        ...

    @property
    def model(self) -> Recommender:
        """The model with the weights to release."""
        ...


def publish(
    trained: Trained,
    version: int | None = None,
    *,
    bonuses: np.ndarray | None = None,
    gate: Mapping[str, Any] | None = None,
    final_fit: Mapping[str, Any] | None = None,
) -> Release:
    """Publishes a new version to `saved_models/<release name>/` and makes it current; earlier versions stay.

    Items that were added by refresh and are not in the new catalogue are carried over, with vectors from the new item
    tower. Removals are carried over too (`carry_over`).

    Args:
      trained: the run to release.
      version: the number of the version, from 1 up; None takes the latest number plus one.
      bonuses: what the released tower adds to every score of an item by its popularity bin, on top of what was trained,
        float32 [bins] (`exposure`). Only a model with a popularity bias accepts values other than 0.
      gate: the result of the comparison with the current version, which the manifest records; its "against" is the
        number of that version.
      final_fit: of a final fit, what its finished.json says of the run that chose; the manifest has it too.

    Raises:
      InputError: a column of `release.columns` cannot be read from the catalogue.
      ReleaseError: another version than the one of `gate` is current, the version exists, the model cannot take the
        bonuses, an id cannot be served, the item vectors cannot be indexed to the required recall, or the folder cannot
        be written. The current version then stays current.
    """
    folder = trained.config.release_folder
    if bonuses is None:
        bonuses = np.zeros(trained.prepared.popularity.count, np.float32)
    values = _kept_values(trained)
    with publishing(folder) as staging:
        if gate is not None and current(folder) != gate["against"]:
            raise ReleaseError(
                f"{folder}: another version became current while this one was compared with version {gate['against']}; "
                "run the same command again"
            )
        version = free_version(folder, version)
        try:
            with _with_bonuses(trained.model, bonuses):
                _export(trained, staging)
        except tf.errors.OpError as error:
            message = str(error.message)
            refused = behind(message)
            why = "check disk and rights" if refused is None else reason(refused)
            raise ReleaseError(f"{folder}: the towers cannot be written: {in_short(message)}: {why}") from None
        index = _build_index(trained, staging, values)
        with progress("checksums of the release"):
            records = {"gate": gate, "final_fit": final_fit}
            manifest = _manifest(trained, version, index, bonuses, staging, records)
        with progress("making it the current version"):
            commit(folder, staging, manifest, new_by_refresh)
            return open_release(folder)


def released_from(manifest: Mapping[str, Any], trained: Trained) -> bool:
    """Returns whether a manifest says that its release came from this run in its present trained and prepared state."""
    return manifest["trained"] == trained.config.fingerprint() and manifest["prepared"] == _prepared_digest(trained)


def says_the_same(manifest: Mapping[str, Any], trained: Trained) -> bool:
    """Returns whether publishing the run now would only repeat the version that the manifest describes."""
    settings = trained.config.model_dump(mode="json")
    return (
        released_from(manifest, trained)
        and all(manifest["config"].get(section) == settings[section] for section in ("exposure", "cold", "index"))
        and manifest.get("item_columns", []) == list(trained.config.release.columns)
    )


def _with_bonuses(model: Recommender, bonuses: np.ndarray) -> AbstractContextManager[None]:
    if not bonuses.any():
        return nullcontext()
    if model.popularity_bias is None:
        raise ReleaseError(
            f"{model.title} has no popularity bias that could take bonuses; pass exposure.cold_share=trained"
        )
    return model_with_bonuses(model.popularity_bias, bonuses)


def _export(trained: Trained, staging: Path) -> None:
    vocabularies = staging / "vocabularies"
    vocabularies.mkdir()
    model, prepared = trained.model, trained.prepared
    model.before_ranking()
    with progress("exporting towers, towers", 2) as stage:
        ItemServing(model, prepared, vocabularies).save(staging / columns.ITEM_TOWER)
        stage(1)
        UserServing(model, prepared, vocabularies).save(staging / columns.USER_TOWER)
    for tower in (columns.ITEM_TOWER, columns.USER_TOWER):
        write_warmup(staging / tower, tower, trained.config.history.length)


def _kept_values(trained: Trained) -> dict[str, np.ndarray]:
    """Reads the columns that the release keeps, column -> object array of str [items], in the order of item rows."""
    names = trained.config.release.columns
    if not names:
        return {}
    with progress("reading the columns that the release keeps"):
        frame = formats.kept_columns(trained.config.data, names)
    return by_id(frame, columns.ITEM_ID, trained.prepared.items.known)


def _build_index(trained: Trained, staging: Path, values: Mapping[str, np.ndarray]) -> ItemIndex:
    """Indexes and saves the vectors that the exported item tower gives, so that tower and index cannot disagree."""
    prepared, config = trained.prepared, trained.config
    items = ItemStore.of_training(
        prepared.items.known,
        prepared.bins,
        prepared.content,
        np.asarray(prepared.popularity.edges),
        values,
        published=prepared.publish_times[FIRST_ROW:],
        views=prepared.known_views[FIRST_ROW:],
    )
    ids = items.ids
    tower = SavedItemTower(staging / columns.ITEM_TOWER)
    blocks = np.array_split(ids, math.ceil(len(ids) / EMBEDDED_AT_ONCE))
    parts = []
    with progress("item vectors of the exported tower, items", len(ids)) as stage:
        for block in blocks:
            parts.append(tower.vectors(items.catalogue(block)))
            stage(sum(map(len, parts)))
    vectors = np.concatenate(parts)
    with progress("vectors of sample users"):
        users = _sample_users(prepared, config)
        user_vectors = SavedUserTower(staging / columns.USER_TOWER, config.history.length).vectors(users)
    try:
        index = build_index(ids, vectors, config.index, user_vectors)
    except ValueError as error:
        raise ReleaseError(f"{config.run.name}: the item vectors cannot be indexed: {error}") from None
    folder = staging / columns.INDEX
    with progress("writing the index"):
        index.save(folder)
        items.save(folder / ITEMS_FOLDER)
    sample.save(sample.SampledUsers(users, user_vectors), folder)
    return index


def _sample_users(prepared: Prepared, config: Config) -> pd.DataFrame:
    """Returns sample users with their histories up to the end of the log, as `retrieve` uses them."""
    rows = np.random.default_rng(0).permutation(np.arange(FIRST_ROW, len(prepared.users)))[:SAMPLE_USERS]
    ordered = np.sort(rows)
    slots = Audience(prepared, config, columns.SPLITS).histories(ordered)[np.searchsorted(ordered, rows)]
    past = [prepared.items.ids(line[line != PADDING_ROW]) for line in slots]
    return pd.DataFrame({columns.USER_ID: prepared.users.ids(rows), columns.HISTORY: pd.Series(past, dtype=object)})


def _prepared_digest(trained: Trained) -> str:
    return sha256(trained.prepared.folder / columns.MANIFEST)


def _manifest(
    trained: Trained,
    version: int,
    index: ItemIndex,
    bonuses: np.ndarray,
    staging: Path,
    records: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, Any]:
    config, prepared = trained.config, trained.prepared
    return manifests.with_fingerprint(
        {
            "format": manifests.FORMAT,
            "name": config.release_folder.name,
            "run": config.run.name,
            "version": version,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "m3csr_tf": __version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "scann": installed("scann"),
            },
            "title": trained.model.title,
            "places_new_items": trained.model.places_new_items,
            "explains": trained.model.explains,
            "modalities": {name: int(raw.shape[1]) for name, raw in prepared.content.items()},
            "layout": {part: [place.start, place.stop] for part, place in trained.model.layout.items()},
            "popularity_edges": prepared.popularity.edges.tolist(),
            "history_length": config.history.length,
            "index": index.report,
            "exposure": config.exposure.added | {"bonuses": bonuses.tolist()},
            **{name: dict(record) for name, record in records.items() if record is not None},
            **({"item_columns": list(config.release.columns)} if config.release.columns else {}),
            "config": {
                **config.model_dump(mode="json", include={"model", "history", "exposure", "cold", "index"}),
                # The path is left out, because it means nothing on another machine.
                "data": config.data.model_dump(mode="json", include={"format", "modalities"}),
            },
            "trained": config.fingerprint(),
            "prepared": _prepared_digest(trained),
            "parts": {part: manifests.checksums(staging / part) for part in manifests.PARTS},
        }
    )
