"""Fixtures that several rooms share. TensorFlow is imported by the fixtures that need it, not here."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from long_files import LONG_FILES

from m3csr_tf.config import Config

# A machine that is busy with something else is no fault of the code.
hypothesis.settings.register_profile("m3csr_tf", deadline=None)
hypothesis.settings.load_profile("m3csr_tf")


def pytest_configure(config: pytest.Config) -> None:
    """Leaves files in the order of collection when pytest-xdist hands them out."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, in the order of `LONG_FILES`."""
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def signals_as_usual() -> Iterator[None]:
    """Every test begins with SIGINT and SIGTERM as in a shell, even where pytest was started to ignore them.

    Processes inherit what is ignored, so that those of a test would not be stopped by the signals that it sends.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiktok_folder() -> Path:
    """The public TikTok split; tests are skipped where it is absent (M3CSR_TIKTOK names another folder)."""
    folder = Path(os.environ.get("M3CSR_TIKTOK", Path(__file__).parents[2] / "shared" / "data" / "tiktok"))
    if not (folder / "train.json").exists():
        pytest.skip(f"the public TikTok split is not in {folder}; set M3CSR_TIKTOK to its folder")
    return folder.resolve()


@dataclass(frozen=True)
class UntrainedRun:
    """What a trained run has, with random weights."""

    config: Config
    prepared: Any
    model: Any
    finished: Mapping[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., UntrainedRun]:
    """`make_run(folder, model=...)` prepares a small world and makes a model of random weights for it."""
    from m3csr_tf.prepare import prepare

    def make(folder: Path, seed: int = 0, **sections: Any) -> UntrainedRun:
        from m3csr_tf.training.runs import build_model

        world = {"users": 150, "items": 120, "clicks": 1500, "missing": 0.15}
        world["modalities"] = {"visual": 12, "acoustic": 5}
        tree = {
            "run": {"name": "small", "folder": folder / "runs", "release_folder": folder / "saved_models"},
            "data": {"world": world},
            "split": {"kind": "random", "cold_share": 0.1},
            "clusters": {"count": 7},
            "history": {"length": 6},
            "model": {"dim": 8, "id_dim": 12},
        }
        config = Config.model_validate({**tree, **sections})
        prepared = prepare(config)
        model = build_model(config, prepared)
        rng = np.random.default_rng(seed)
        for weight in model.trainable_variables:
            weight.assign(rng.normal(scale=0.3, size=weight.shape))
        return UntrainedRun(config, prepared, model)

    return make


@pytest.fixture(scope="session")
def untrained_run(make_run: Callable[..., UntrainedRun], tmp_path_factory: pytest.TempPathFactory) -> UntrainedRun:
    """A run of random weights, shared: do not change it."""
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def release(untrained_run: UntrainedRun) -> Any:
    """The release of `untrained_run`, shared: do not change it."""
    from m3csr_tf.releases.publish import publish

    return publish(untrained_run)


@pytest.fixture(scope="session")
def authored_run(untrained_run: UntrainedRun, tmp_path_factory: pytest.TempPathFactory) -> UntrainedRun:
    """The same run, whose release keeps the authors."""
    config = untrained_run.config
    place = config.run.model_copy(update={"release_folder": tmp_path_factory.mktemp("authored")})
    keeping = config.release.model_copy(update={"columns": ("author",)})
    return replace(untrained_run, config=config.model_copy(update={"run": place, "release": keeping}))


@pytest.fixture(scope="session")
def authored(authored_run: UntrainedRun) -> Any:
    """A release that keeps the authors, shared: do not change it."""
    from m3csr_tf.releases.publish import publish

    return publish(authored_run)


@pytest.fixture
def live(release: Any, tmp_path: Path) -> Any:
    """A copy of the release, to change."""
    from m3csr_tf.releases.release import open_release

    return open_release(Path(shutil.copytree(release.folder, tmp_path / "moved" / "small")))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty inbox."""
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"
