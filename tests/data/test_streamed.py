"""A log larger than memory is prepared as a small one is, in parts, with the same checks and messages."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data import partition as partitions
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.data.selection import values_at
from m3csr_tf.errors import InputError, M3CSRError
from m3csr_tf.prepare import prepare

ITEMS = 12
NANOSECONDS = 1_700_000_000_000_000_255
"""A time that float64 does not hold."""


def write(folder: Path, log: pd.DataFrame, parts: int = 3) -> Path:
    """A table in parts of parquet, and a catalogue of ITEMS items."""
    (folder / "interactions.parquet").mkdir(parents=True)
    for number, rows in enumerate(np.array_split(np.arange(len(log)), parts)):
        log.iloc[rows].to_parquet(folder / "interactions.parquet" / f"part-{number}.parquet", index=False)
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 4)).astype(np.float32)
    catalogue = pd.DataFrame({columns.ITEM_ID: [f"v{number}" for number in range(ITEMS)], "visual": list(vectors)})
    catalogue.to_parquet(folder / "catalogue.parquet", index=False)
    return folder


def config(folder: Path, run: Path, streamed: bool, **split: Any) -> Config:
    return Config.model_validate(
        {
            "run": {"folder": run},
            "data": {"format": "table", "path": folder, "modalities": {"visual": "visual"}}
            | ({"in_memory_rows": 0, "shard_clicks": 5} if streamed else {}),
            "split": split,
            "clusters": {"count": 2},
            "training": {"final_of": "another"} if split.get("train_on", "train") != "train" else {},
        }
    )


def named(prepared: Prepared, split: str) -> set[tuple[Any, ...]]:
    """Interactions as (user id, item id, timestamp, weight)."""
    frame = prepared.split(split)
    ids = [prepared.users.ids(frame[columns.USER_ROW]), prepared.items.ids(frame[columns.ITEM_ROW])]
    rest = [frame[name] for name in (columns.TIMESTAMP, columns.WEIGHT) if name in frame]
    rows = list(zip(*ids, *rest, strict=True))
    assert len(set(rows)) == len(rows)
    return set(rows)


logs = st.lists(
    st.tuples(
        st.integers(0, 15),
        st.integers(0, ITEMS - 1),
        st.integers(0, 40),
        st.integers(1, 4),
        st.sampled_from(columns.SPLITS),
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=12, deadline=None)
@given(
    log=logs,
    kind=st.sampled_from(["given", "time"]),
    cold_share=st.sampled_from([0.0, 0.2]),
    pseudo=st.sampled_from([0.0, 0.3]),
    train_on=st.sampled_from(["train", "train_val", "all"]),
)
def test_in_parts_a_log_becomes_what_it_becomes_in_memory(
    tmp_path_factory: pytest.TempPathFactory, log: list[Any], kind: str, cold_share: float, pseudo: float, train_on: str
) -> None:
    folder = tmp_path_factory.mktemp("log")
    frame = pd.DataFrame(
        log, columns=[columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT]
    )
    frame = frame.assign(
        user_id="u" + frame[columns.USER_ID].astype(str), item_id="v" + frame[columns.ITEM_ID].astype(str)
    )
    write(folder, frame)
    split = {"kind": kind, "ratios": (0.6, 0.2, 0.2), "cold_share": cold_share, "pseudo_cold_share": pseudo}
    split |= {"train_on": train_on}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "_BLOCK", 7)
        outcomes = []
        for streamed in (False, True):
            try:
                outcomes.append(prepare(config(folder, folder / f"runs-{streamed}", streamed, **split)))
            except M3CSRError as error:
                outcomes.append(str(error))
    if isinstance(outcomes[0], str):
        assert outcomes[1] == outcomes[0]
        return
    whole, parts = outcomes
    for name in columns.SPLITS:
        assert named(parts, name) == named(whole, name)
    pd.testing.assert_frame_equal(parts.catalogue, whole.catalogue)
    assert parts.manifest["counts"] == whole.manifest["counts"]
    assert set(parts.users.known) == set(whole.users.known)
    assert [path.name for path in sorted(parts.folder.iterdir())] == [
        path.name for path in sorted(whole.folder.iterdir())
    ]


def test_in_parts_validation_gets_about_its_share_of_the_clicks_of_cold_items(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pairs = random.permutation(300 * ITEMS)[:1800]
    frame = pd.DataFrame({columns.USER_ID: [f"u{pair // ITEMS}" for pair in pairs]})
    frame[columns.ITEM_ID] = [f"v{pair % ITEMS}" for pair in pairs]
    frame[columns.TIMESTAMP] = np.arange(len(frame))
    write(tmp_path, frame)
    split = {"kind": "time", "cold_share": 0.5, "cold_validation": 0.3}
    parts = prepare(config(tmp_path, tmp_path / "parts", True, **split))
    whole = prepare(config(tmp_path, tmp_path / "whole", False, **split))
    cold = {f"v{item}" for item in range(ITEMS)} & set(
        whole.items.known[whole.catalogue[columns.IS_STRICTLY_COLD].to_numpy()]
    )

    def of(prepared: Prepared, name: str, is_cold: bool) -> set[Any]:
        return {row for row in named(prepared, name) if (row[1] in cold) == is_cold}

    assert of(parts, "train", True) == set()
    for name in columns.SPLITS:  # Where nothing is drawn, both agree.
        assert of(parts, name, False) == of(whole, name, False)
    validated, tested = len(of(parts, "val", True)), len(of(parts, "test", True))
    # About 900 clicks lie on cold items: 270 +- 3 * sqrt(900 * 0.3 * 0.7) of them in validation.
    assert abs(validated - 0.3 * (validated + tested)) < 42
    assert validated + tested == len(of(whole, "val", True)) + len(of(whole, "test", True))


def test_a_random_split_in_parts_keeps_each_users_shares_and_first_click_in_training(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pairs = np.unique(random.integers(0, [60, ITEMS], (500, 2)), axis=0)
    frame = pd.DataFrame(
        {columns.USER_ID: [f"u{user}" for user in pairs[:, 0]], columns.ITEM_ID: [f"v{i}" for i in pairs[:, 1]]}
    )
    made = prepare(config(write(tmp_path, frame), tmp_path / "runs", True, kind="random", ratios=(0.5, 0.25, 0.25)))
    assert len(made.train_shards) > 5
    sizes = {name: made.split(name)[columns.USER_ROW].value_counts() for name in columns.SPLITS}
    for user, count in frame[columns.USER_ID].value_counts().items():
        row = made.users.rows([user])[0]
        of_user = [int(sizes[name].get(row, 0)) for name in columns.SPLITS]
        assert sum(of_user) == count and of_user[0] >= 1
        assert all(abs(mine - share * count) <= 1 for mine, share in zip(of_user, (0.5, 0.25, 0.25), strict=True))


def test_validation_is_drawn_in_parts_where_the_data_give_train_and_test_alone(tmp_path: Path) -> None:
    pairs = np.array([(user, item) for user in range(30) for item in range(9)])
    frame = pd.DataFrame(
        {
            columns.USER_ID: [f"u{user}" for user in pairs[:, 0]],
            columns.ITEM_ID: [f"v{item}" for item in pairs[:, 1]],
            columns.SPLIT: np.where(pairs[:, 1] < 6, columns.TRAIN, columns.TEST),
        }
    )
    made = prepare(config(write(tmp_path, frame), tmp_path / "runs", True, kind="given", validation_share=0.5))
    assert len(made.train_shards) > 5
    for name, clicks in ((columns.TRAIN, 3), (columns.VAL, 3), (columns.TEST, 3)):
        assert made.split(name)[columns.USER_ROW].value_counts().tolist() == [clicks] * 30
    whole = frame.assign(split=np.resize(columns.SPLITS, len(frame)))
    with pytest.raises(InputError, match="of val; leave the setting out"):
        prepare(config(write(tmp_path / "whole", whole), tmp_path / "others", True, kind="given", validation_share=0.5))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (columns.USER_ID, "", "user_id in data row 31 is nothing; expected an id"),
        (columns.ITEM_ID, "v99", "1 interactions are with items that the catalogue lacks, e.g. 'v99'"),
        (columns.WEIGHT, -1.0, "weight in data row 31 is -1.0; expected a positive number"),
        (columns.WEIGHT, 1e18, "weight in data row 31 is 1e+18; expected a positive number, at most 1e+12"),
        (columns.SPLIT, "later", "split in data row 31 is 'later'; expected one of train, val, test"),
    ],
)
def test_a_fault_is_named_by_its_row_in_the_whole_log_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: Any, message: str
) -> None:
    monkeypatch.setattr(partitions, "_BLOCK", 7)
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            columns.USER_ID: [f"u{user}" for user in random.integers(0, 9, 40)],
            columns.ITEM_ID: [f"v{item}" for item in random.integers(0, ITEMS, 40)],
            columns.WEIGHT: 1.0,
            columns.SPLIT: random.choice(columns.SPLITS, 40),
        }
    )
    frame.loc[30, column] = value
    write(tmp_path, frame)
    with pytest.raises(InputError) as raised:
        prepare(config(tmp_path, tmp_path / "runs", True, kind="given"))
    assert message in str(raised.value) and "interactions.parquet" in str(raised.value)
    assert not (tmp_path / "runs").exists()


@given(
    st.one_of(
        st.lists(st.one_of(st.integers(-(10**12), 10**12), st.integers(0, 3)), min_size=1, max_size=60),
        st.lists(st.integers(NANOSECONDS, NANOSECONDS + 1000), min_size=1, max_size=60),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60),
    ),
    st.booleans(),
    st.data(),
)
def test_values_at_places_are_those_of_the_sorted_column(values: list[int], floats: bool, data: st.DataObject) -> None:
    column = np.array(values, np.float64) / 7 if floats else np.array(values, np.int64)
    ranks = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m3csr_tf.data.selection._SORTED", 2)
        patch.setattr("m3csr_tf.data.selection._BINS", 4)
        found = values_at(ranks, lambda: iter(np.array_split(column, 3)))
    np.testing.assert_array_equal(found, np.sort(column)[ranks])
    assert found.dtype == column.dtype


def test_memory_grows_with_a_bucket_and_not_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "_BLOCK", 20_000)
    peaks = []
    for rows in (200_000, 800_000):
        random = np.random.default_rng(0)
        frame = pd.DataFrame(
            {
                # As many rows a user in the longer log as in the shorter: the id table is the same.
                columns.USER_ID: np.char.add("u", random.integers(0, 2000, rows).astype(str)),
                columns.ITEM_ID: np.char.add("v", random.integers(0, ITEMS, rows).astype(str)),
                columns.TIMESTAMP: random.integers(0, 10**6, rows),
            }
        )
        folder = write(tmp_path / str(rows), frame, parts=8)
        del frame
        made = config(folder, folder / "runs", True, kind="time").model_copy()
        made = made.model_copy(update={"data": made.data.model_copy(update={"shard_clicks": 20_000})})
        tracemalloc.start()
        prepare(made)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
