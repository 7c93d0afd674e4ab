"""Bytes flipped, files cut, emptied or swapped, anywhere in prepared data, runs, releases and inboxes.

Each ends right, with the lists of the untouched, or in one message; none in a traceback, and none in other lists. Lists
that were made before (`top_n`) are left out: a flipped score in a parquet file is still a score.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from product import Product

from m3csr_tf import columns
from m3csr_tf.errors import M3CSRError

SEED = 20261128
CASES = 300
SECONDS = 20
"""More than any opening takes; a hang is a fault too."""
KINDS = {"flipped": 0.4, "cut": 0.2, "emptied": 0.05, "swapped": 0.2, "longer": 0.1, "noise": 0.05}
ROOTS = ("prepared", "run_folder", "release", "inbox")


def digest(*parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
    return found.hexdigest()


def of_prepared(product: Product) -> str:
    """What lists depend on in the prepared data."""
    from m3csr_tf.data.prepared import Prepared

    prepared = Prepared.open(product.prepared)
    frames = [prepared.split(name) for name in columns.SPLITS]
    return digest(
        prepared.users.known.tolist(),
        prepared.items.known.tolist(),
        *(frame.to_numpy().tobytes() for frame in frames),
        *(np.asarray(vectors).tobytes() for vectors in prepared.content.values()),
        prepared.cluster_ids.tobytes(),
        prepared.bins.tobytes(),
        prepared.train_shards,
        prepared.clusters.digest,
        prepared.popularity.edges.tolist(),
        None if prepared.truth() is None else sorted(prepared.truth()),
    )


def of_run(product: Product) -> str:
    """What lists depend on in the run."""
    from m3csr_tf.training.runs import load_trained

    trained = load_trained(product.run_folder)
    weights = [variable.numpy().tobytes() for variable in trained.model.trainable_variables]
    return digest(trained.config.fingerprint(), *weights)


def without_data(product: Product) -> str:
    """What lists depend on in the release, and what its verbs say."""
    from m3csr_tf.releases import versions
    from m3csr_tf.releases.release import open_release

    release = open_release(product.release)
    known = release.index.ids
    sample = release.sample()
    listed = [(one.version, one.current, one.complete, one.segments) for one in versions.listing(product.release)]
    return digest(
        known.tolist(),
        release.index.vectors(known).tobytes(),
        release.items.views(release.items.ids).tolist(),
        sorted(release.items.removed),
        release.position,
        sample.users.to_json(),
        sample.vectors.tobytes(),
        listed,
    )


def of_inbox(product: Product) -> str:
    """Whether the files can be taken in; what they say is their owner's."""
    from m3csr_tf.data.updates import read_updates
    from m3csr_tf.releases.inbox import columns_of
    from m3csr_tf.releases.refresh import check
    from m3csr_tf.releases.release import open_release

    release = open_release(product.release)
    for path in sorted(product.inbox.iterdir()):
        updates = read_updates(path, columns_of(release), release.modalities)
        check(release, updates.frame, updates.content, updates.removed, str(path))
    return "taken in"


ANSWERS: dict[str, Callable[[Product], str]] = {
    "prepared": of_prepared,
    "run_folder": of_run,
    "release": without_data,
    "inbox": of_inbox,
}


def files_of(product: Product, root: str) -> list[Path]:
    folder: Path = getattr(product, root)
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return [path for path in found if root != "run_folder" or product.prepared not in path.parents]


def spoilt(rng: np.random.Generator, path: Path, others: list[Path]) -> tuple[str, bytes]:
    """A fault, in words, and what the file holds then."""
    content = bytearray(path.read_bytes())
    kind = ("flipped", "cut", "emptied", "swapped", "longer", "noise")[
        rng.choice(6, p=[0.4, 0.2, 0.05, 0.2, 0.1, 0.05])
    ]
    if kind == "flipped" and content:
        for place in rng.integers(len(content), size=rng.integers(1, 9)):
            content[place] ^= 1 << rng.integers(8)
    elif kind == "cut":
        del content[rng.integers(len(content) + 1) :]
    elif kind == "emptied":
        content.clear()
    elif kind == "swapped":
        content = bytearray(others[rng.integers(len(others))].read_bytes())
    elif kind == "longer":
        content += rng.bytes(int(rng.integers(1, 100)))
    else:
        content = bytearray(rng.bytes(len(content)))
    return kind, bytes(content)


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def answers(product: Product) -> dict[str, str]:
    return {root: answer(product) for root, answer in ANSWERS.items()}


@pytest.mark.parametrize("case", range(CASES))
def test_a_fault_in_any_file_ends_right_or_in_one_message(case: int, product: Product, answers: dict[str, str]) -> None:
    rng = np.random.default_rng([SEED, case])
    root = ROOTS[case % len(ROOTS)]
    files = files_of(product, root)
    path = files[rng.integers(len(files))]
    whole = path.read_bytes()
    kind, content = spoilt(rng, path, files)
    path.write_bytes(content)
    where = f"{path.relative_to(product.root)} {kind}"
    try:
        with in_time(SECONDS):
            found = ANSWERS[root](product)
    except M3CSRError as error:
        message = str(error)
        assert "\n" not in message and len(message) < 1500, f"{where}: {message}"
    else:
        assert found == answers[root], f"{where}: other lists, without a word"
    finally:
        path.write_bytes(whole)


VERBS: dict[str, tuple[str, list[str]]] = {
    "evaluate": ("run_folder", ["evaluate"]),
    "evaluate, other data": ("prepared", ["evaluate"]),
    "list": ("release", ["release", "list"]),
    "verify": ("release", ["release", "verify"]),
    "retrieve": ("release", ["retrieve", "retrieve.users={root}/users.parquet"]),
    "retrieve, other data": ("prepared", ["retrieve"]),
    "explain": ("release", ["explain", "--user", "u0001", "--item", "fresh 2", "--history", "v0003"]),
    "refresh": ("inbox", ["refresh", "--items", "{root}/inbox/items.parquet"]),
    "refresh, other release": ("release", ["refresh", "--items", "{root}/inbox/items.csv"]),
}


def lists(product: Product) -> pd.DataFrame:
    return pd.read_parquet(product.run_folder / "top_n")[[columns.USER_ID, columns.ITEM_ID]]


@pytest.fixture(scope="session")
def whole_lists(made: Product, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    copy = Product(Path(shutil.copytree(made.root, tmp_path_factory.mktemp("whole") / "product", symlinks=True)))
    assert copy.run("retrieve", f"retrieve.users={copy.root / 'users.parquet'}").exit_code == 0
    return lists(copy)


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_meets_a_fault_and_ends_right_or_in_one_message(
    verb: str, turn: int, mended: Product, whole_lists: pd.DataFrame
) -> None:
    rng = np.random.default_rng([SEED, turn, list(VERBS).index(verb)])
    root, words = VERBS[verb]
    files = files_of(mended, root)
    path = mended.inbox / "items.parquet" if verb == "refresh" else files[rng.integers(len(files))]
    kind, content = spoilt(rng, path, files)
    path.write_bytes(content)
    with in_time(10 * SECONDS):
        result = mended.run(*(word.format(root=mended.root) for word in words))
    where = f"{verb}: {path.relative_to(mended.root)} {kind}: {result.output}"
    assert result.exit_code in (0, 2), f"{where} {result.exception!r}"
    assert "Traceback" not in result.output, where
    if result.exit_code == 0 and verb == "retrieve":
        assert lists(mended).equals(whole_lists), where
    if result.exit_code == 2:
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, where
