"""Publishing a release: towers exported, index built from the exported item tower, all under one fingerprint.

Each part is written beside and renamed, in the order item tower, index, user tower; the manifest is replaced last.
Whoever follows the manifest sees the old release or the new one, never a mixture. One process publishes at a time.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import __version__, columns
from m3csr_tf.config import Config
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, Catalogue
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ReleaseError
from m3csr_tf.features.histories import histories
from m3csr_tf.files import sha256, write_text
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW
from m3csr_tf.index import ItemIndex, build_index
from m3csr_tf.serving import manifest as manifests
from m3csr_tf.serving.release import Release, open_release
from m3csr_tf.serving.signatures import ItemServing, UserServing
from m3csr_tf.serving.towers import SavedItemTower, SavedUserTower
from m3csr_tf.towers.layout import parts

STAGING = ".publishing"
MODELS_CONFIG = "models.config"
SAMPLE_USERS = 2000
"""Users whose vectors a tree's recall is measured on."""


class Towers(Protocol):
    """A model of two towers that take the features of `UserTower.call` and `ItemTower.call`."""

    @property
    def user_tower(self) -> tf.keras.Model:
        """Takes what `UserTower.call` takes."""
        ...

    @property
    def item_tower(self) -> tf.keras.Model:
        """Takes what `ItemTower.call` takes."""
        ...


class Trained(Protocol):
    """A trained run: its settings, the data it was trained on, and the model with the weights to release."""

    @property
    def config(self) -> Config:
        """The run's settings."""
        ...

    @property
    def prepared(self) -> Prepared:
        """The data it was trained on."""
        ...

    @property
    def model(self) -> Towers:
        """The towers, with the weights to release."""
        ...


def publish(trained: Trained, version: int | None = None, *, cold_bonus: float = 0.0) -> Release:
    """Publishes a new version to `saved_models/<run name>/` and makes it the current one; earlier ones stay.

    Args:
      trained: what to release.
      version: a number above 0; one more than the latest when None.
      cold_bonus: what the released tower adds to every score of an item of popularity bin 0, beside what was trained
        (`evaluation.exposure`); only a model with model.popularity_bias takes one.

    Raises:
      ReleaseError: the version exists, an id cannot be served, the item vectors cannot be indexed, or the folder
        cannot be written; the release that was current stays so.
    """
    folder = trained.config.release_folder
    version = _free_version(folder, version)
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # An earlier attempt that was killed.
    try:
        staging.mkdir(parents=True)
        with _raised(trained.model.item_tower, cold_bonus):
            _export(trained, staging)
        index = _build_index(trained, staging)
        index.save(staging / columns.INDEX)
        manifest = _manifest(trained, version, index, cold_bonus, staging)
        text = json.dumps(manifest, indent=2) + "\n"
        for part in manifests.PARTS:
            copy = manifests.copy_path(staging / part, part)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text, encoding="utf-8")
        for part in manifests.PARTS:
            place = manifests.part_folder(folder, part, version)
            place.parent.mkdir(exist_ok=True)
            (staging / part).rename(place)
        write_text(folder / MODELS_CONFIG, models_config(folder, version))
        write_text(folder / columns.MANIFEST, text)
    except OSError as error:
        raise ReleaseError(f"{folder}: cannot publish version {version} ({error.strerror or error})") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return open_release(folder)


def released_from(manifest: Mapping[str, Any], trained: Trained) -> bool:
    """Whether a release's manifest says that it came from this run, as it has been trained and prepared now."""
    return manifest["trained"] == trained.config.fingerprint() and manifest["prepared"] == _prepared_digest(trained)


def models_config(folder: Path, version: int) -> str:
    """TF Serving's `--model_config_file`: both towers, pinned to `version`."""
    models = "".join(
        "  config {\n"
        f"    name: {json.dumps(part)}\n"
        f"    base_path: {json.dumps(str((folder / part).resolve()))}\n"
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{ versions: {version} }} }}\n"
        "  }\n"
        for part in (columns.ITEM_TOWER, columns.USER_TOWER)
    )
    return f"# Generated with version {version}; base_path must be the towers' place as the server sees it.\n" + (
        f"model_config_list {{\n{models}}}\n"
    )


def _free_version(folder: Path, version: int | None) -> int:
    taken = {int(path.name) for part in manifests.PARTS for path in (folder / part).glob("*") if path.name.isdecimal()}
    if version is None:
        return max(taken, default=0) + 1
    if version < 1:
        raise ReleaseError(f"{folder}: versions are numbers from 1, got {version}")
    if version in taken:
        raise ReleaseError(f"{folder}: version {version} exists already; leave the version out, or give a new one")
    return version


@contextmanager
def _raised(item_tower: tf.keras.Model, cold_bonus: float) -> Iterator[None]:
    """Adds the bonus to what bin 0 is worth, inside the block: the run's own model stays as it was trained."""
    if not cold_bonus:
        yield
        return
    worth = item_tower.popularity_bias
    trained = worth.numpy()
    raised = trained.copy()
    raised[0] += cold_bonus
    worth.assign(raised)
    try:
        yield
    finally:
        worth.assign(trained)


def _export(trained: Trained, staging: Path) -> None:
    vocabularies = staging / "vocabularies"
    vocabularies.mkdir()
    model, prepared = trained.model, trained.prepared
    ItemServing(model.item_tower, prepared, vocabularies).save(staging / columns.ITEM_TOWER)
    UserServing(model.user_tower, prepared, vocabularies).save(staging / columns.USER_TOWER)


def _build_index(trained: Trained, staging: Path) -> ItemIndex:
    """Indexes what the exported item tower says of every item, so that the two cannot disagree."""
    prepared, config = trained.prepared, trained.config
    ids = prepared.items.known
    frame = pd.DataFrame({columns.ITEM_ID: ids, columns.VIEW_COUNT: UNKNOWN_VIEWS})
    catalogue = Catalogue(frame, {name: raw[FIRST_ROW:] for name, raw in prepared.content.items()})
    vectors = SavedItemTower(staging / columns.ITEM_TOWER).vectors(catalogue)
    tower = SavedUserTower(staging / columns.USER_TOWER, config.history.length)
    try:
        return build_index(ids, vectors, config.index, tower.vectors(_sample_users(prepared, config)))
    except ValueError as error:
        raise ReleaseError(f"{config.run.name}: the item vectors cannot be indexed: {error}") from None


def _sample_users(prepared: Prepared, config: Config) -> pd.DataFrame:
    """Some users and their training histories."""
    rows = np.random.default_rng(0).permutation(np.arange(FIRST_ROW, len(prepared.users)))[:SAMPLE_USERS]
    slots = histories(prepared.split(columns.TRAIN), len(prepared.users), config.history.length, config.split.seed)
    past = [prepared.items.ids(line[line != PADDING_ROW]) for line in slots[rows]]
    return pd.DataFrame({columns.USER_ID: prepared.users.ids(rows), columns.HISTORY: pd.Series(past, dtype=object)})


def _prepared_digest(trained: Trained) -> str:
    return sha256(trained.prepared.folder / columns.MANIFEST)


def _manifest(trained: Trained, version: int, index: ItemIndex, cold_bonus: float, staging: Path) -> dict[str, Any]:
    config, prepared = trained.config, trained.prepared
    layout = parts(config.model, prepared.modalities)
    return manifests.sealed(
        {
            "format": manifests.FORMAT,
            "name": config.run.name,
            "version": version,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "m3csr_tf": __version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "scann": installed("scann"),
            },
            "modalities": {name: int(raw.shape[1]) for name, raw in prepared.content.items()},
            "layout": {part: [place.start, place.stop] for part, place in layout.items()},
            "history_length": config.history.length,
            "index": index.report,
            "exposure": {"cold_share": config.exposure.cold_share, "cold_bonus": cold_bonus},
            "config": config.model_dump(mode="json"),
            "trained": config.fingerprint(),
            "prepared": _prepared_digest(trained),
            "parts": {part: manifests.checksums(staging / part) for part in manifests.PARTS},
        }
    )
