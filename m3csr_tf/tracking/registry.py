"""Registers versions of a release in MLflow's registry, where the alias `current` follows the release's manifest.

What is registered is the manifest of a version and where it lies. Towers and index are not copied: whoever serves them
follows the manifest in the release's folder, and a second copy would outlive what `prune` removes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m3csr_tf import columns
from m3csr_tf.errors import TrackingError
from m3csr_tf.tracking.run import TAG
from m3csr_tf.tracking.store import Store, error_code

CURRENT = "current"
"""The alias of the version that the release's manifest names."""
_FOLDER, _FINGERPRINT, _VERSION = f"{TAG}release_folder", f"{TAG}fingerprint", f"{TAG}release_version"


def check_model(store: Store, release: Path) -> bool:
    """Whether the registry has a model of the release's name; it must be of this release.

    Raises:
      TrackingError: it is of another one, or of something else.
      Exception: whatever MLflow raises.
    """
    try:
        model = store.client.get_registered_model(release.name)
    except Exception as error:
        if error_code(error) == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    place = model.tags.get(_FOLDER)
    if place != str(release.absolute()):
        whose = "something else than a release" if place is None else f"the release in {place}"
        raise TrackingError(
            f"{release}: the registry of {store.shown} has a model {release.name!r} already, of {whose}; give "
            f"run.release_name another name, or, if it is this release, set its tag {_FOLDER} to {release.absolute()}"
        )
    return True


def register(store: Store, run_id: str, release: Path, manifest: dict[str, Any]) -> str:
    """Registers a version of a release, unless it is there already.

    Args:
      store: the store.
      run_id: of the run in MLflow that the version came from; its files get the manifest.
      release: folder of the release.
      manifest: of the version.

    Returns:
      The number of the version in the registry.

    Raises:
      As `check_model`.
    """
    if not check_model(store, release):
        store.client.create_registered_model(release.name, tags={_FOLDER: str(release.absolute())})
    there = _registered(store, release, manifest)
    if there is not None:
        return there
    place = f"release/{release.name}/{manifest['version']}"
    store.client.log_dict(run_id, manifest, f"{place}/{columns.MANIFEST}")
    tags = {_FOLDER: str(release.absolute()), _FINGERPRINT: manifest["fingerprint"]}
    tags |= {_VERSION: str(manifest["version"]), f"{TAG}run": manifest["run"]}
    made = store.client.create_model_version(release.name, f"runs:/{run_id}/{place}", run_id, tags=tags)
    return str(made.version)


def point_to(store: Store, release: Path, manifest: dict[str, Any]) -> bool:
    """Makes a version of a release the one with the alias `current`; returns whether the registry has it.

    Raises:
      As `check_model`.
    """
    if not check_model(store, release):
        return False
    there = _registered(store, release, manifest)
    if there is not None:
        store.client.set_registered_model_alias(release.name, CURRENT, there)
    return there is not None


def _registered(store: Store, release: Path, manifest: dict[str, Any]) -> str | None:
    found = store.client.search_model_versions(f"name = '{release.name}'", max_results=1000)
    return next((str(one.version) for one in found if one.tags.get(_FINGERPRINT) == manifest["fingerprint"]), None)
