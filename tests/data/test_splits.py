from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.config import Config, SplitConfig
from m3csr_tf.data.formats import read
from m3csr_tf.data.splits import play_cold, split
from m3csr_tf.errors import InputError

ITEMS = np.array([f"i{item:02}" for item in range(20)], dtype=object)


def pairs(users: int = 30, clicks: int = 10, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    items = np.concatenate([random.choice(ITEMS, clicks, replace=False) for _ in range(users)])
    return pd.DataFrame({"user_id": np.repeat([f"u{user}" for user in range(users)], clicks), "item_id": items})


def sizes(frame: pd.DataFrame) -> dict[str, int]:
    return frame["split"].value_counts().to_dict()


def test_random_takes_the_ratios_of_each_users_interactions() -> None:
    frame, cold = split(pairs(), ITEMS, SplitConfig(ratios=(0.6, 0.2, 0.2)))
    per_user = frame.groupby(["user_id", "split"]).size().unstack()
    assert (per_user == pd.Series({"train": 6, "val": 2, "test": 2})[per_user.columns]).all(axis=None)
    assert len(cold) == 0


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=15),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.1, 0.1, 0.8)]),
    st.integers(0, 5),
)
@settings(deadline=None, max_examples=60)
def test_random_splits_each_user_within_one_click_of_the_ratios(clicks, ratios, seed) -> None:
    frame = pd.concat([pairs(1, count, user).assign(user_id=f"u{user}") for user, count in enumerate(clicks)])
    try:
        labelled, _ = split(frame.reset_index(drop=True), ITEMS, SplitConfig(ratios=ratios, seed=seed))
    except InputError:  # So few interactions that a split has none.
        assume(False)
    assert len(labelled) == len(frame)
    for user, count in enumerate(clicks):
        own = labelled.loc[labelled["user_id"] == f"u{user}", "split"].value_counts()
        assert own.sum() == count and own.get("train", 0) >= 1
        for name, ratio in zip(("train", "val", "test"), ratios, strict=True):
            # The first click, which is always train, may be one more away from its ratio.
            assert abs(own.get(name, 0) - count * ratio) < 2


def test_short_users_share_out_their_clicks_at_random_so_that_ratios_hold_over_all() -> None:
    # 3,000 users of two clicks: rounding each alone would leave val and test empty. The first click is always train;
    # the second, at (1 + u) / 2 with u uniform, is train up to 0.8 (probability 0.6), then val and test (0.2 each).
    counts = sizes(split(pairs(3000, 2), ITEMS, SplitConfig())[0])
    assert abs(counts["train"] - 4800) < 150 and abs(counts["val"] - 600) < 120 and abs(counts["test"] - 600) < 120


def test_users_with_one_click_keep_it_for_training() -> None:
    frame = pd.concat([pairs(10, 10), pd.DataFrame({"user_id": list("abcdefgh"), "item_id": ITEMS[:8]})])
    labelled, _ = split(frame.reset_index(drop=True), ITEMS, SplitConfig())
    assert (labelled["split"].iloc[-8:] == "train").all()


def test_the_split_hangs_on_its_seed_alone() -> None:
    first, again, other = (split(pairs(), ITEMS, SplitConfig(seed=seed, cold_share=0.2)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first[0], again[0])
    assert_array_equal(first[1], again[1])
    assert list(first[1]) != list(other[1])


def test_time_cuts_all_users_at_the_same_moments_and_keeps_equal_times_together() -> None:
    # Ten clicks: the last two of ten at equal times, so that the cut at 0.8 falls before time 7.
    frame = pairs(1, 10).assign(timestamp=[9, 1, 2, 3, 4, 5, 6, 7, 7, 8])
    labelled, _ = split(frame, ITEMS, SplitConfig(kind="time", ratios=(0.7, 0.2, 0.1)))
    by_time = dict(zip(labelled["timestamp"], labelled["split"], strict=True))
    assert by_time == {**dict.fromkeys(range(1, 7), "train"), 7: "val", 8: "val", 9: "test"}


@given(st.lists(st.integers(0, 50), min_size=5, max_size=40))
@settings(deadline=None, max_examples=50)
def test_time_never_puts_a_later_click_in_an_earlier_split(times: list[int]) -> None:
    frame = pd.DataFrame({"user_id": [str(k) for k in range(len(times))], "item_id": "i00", "timestamp": times})
    try:
        labelled, _ = split(frame, ITEMS, SplitConfig(kind="time", ratios=(0.4, 0.3, 0.3)))
    except InputError:  # Too many equal times for three splits.
        assume(False)
    order = labelled.sort_values("timestamp")["split"].map({"train": 0, "val": 1, "test": 2})
    assert order.is_monotonic_increasing
    assert labelled.groupby("timestamp")["split"].nunique().max() == 1


def test_given_keeps_the_column() -> None:
    labels = ["train", "val", "test"] * 100
    labelled, _ = split(pairs().assign(split=labels), ITEMS, SplitConfig(kind="given"))
    assert labelled["split"].tolist() == labels


@given(share=st.floats(0.05, 0.6), seed=st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_validation_is_drawn_from_the_training_clicks_where_the_data_give_train_and_test_alone(share, seed) -> None:
    frame = pairs(users=20, clicks=9).assign(split=np.resize(["train", "train", "test"], 180))
    labelled, _ = split(frame, ITEMS, SplitConfig(kind="given", validation_share=share, seed=seed))
    assert_array_equal(labelled["split"] == "test", frame["split"] == "test")
    by_user = labelled.groupby("user_id")["split"]
    drawn = by_user.agg(lambda labels: (labels == "val").sum())
    assert (by_user.agg(lambda labels: (labels == "train").sum()) >= 1).all()
    assert ((drawn - 6 * share).abs() < 1).all()


def test_a_share_of_validation_for_other_data_is_refused() -> None:
    whole = pairs().assign(split=["train", "val", "test"] * 100)
    with pytest.raises(InputError, match="these give 100 interactions of val; leave the setting out"):
        split(whole, ITEMS, SplitConfig(kind="given", validation_share=0.1))
    with pytest.raises(InputError, match=r"these are split by random, and split\.ratios says"):
        split(pairs(), ITEMS, SplitConfig(validation_share=0.1))


def test_data_without_validation_are_told_of_the_share() -> None:
    with pytest.raises(InputError, match=r"or set split\.validation_share=0\.1, which takes them from train, or"):
        split(pairs().assign(split=["train", "test"] * 150), ITEMS, SplitConfig())


@given(st.floats(0.05, 0.6), st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_strictly_cold_items_are_in_test_alone_and_others_are_where_they_would_be(share: float, seed: int) -> None:
    frame = pairs()
    config = SplitConfig(cold_share=share, seed=seed)
    labelled, cold = split(frame, ITEMS, config)
    assert len(cold) == max(1, round(share * 20)) and set(cold) <= set(ITEMS)
    is_cold = labelled["item_id"].isin(cold)
    assert (labelled.loc[is_cold, "split"] == "test").all()
    without, _ = split(frame, ITEMS, SplitConfig(seed=seed))
    pd.testing.assert_series_equal(labelled.loc[~is_cold, "split"], without.loc[~is_cold, "split"])


@given(st.floats(0.05, 0.5), st.floats(0.05, 0.95), st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_validation_gets_its_share_of_the_clicks_of_cold_items_and_nothing_else_moves(share, validated, seed) -> None:
    frame = pairs()
    config = SplitConfig(cold_share=share, cold_validation=validated, seed=seed)
    labelled, cold = split(frame, ITEMS, config)
    whole, same = split(frame, ITEMS, SplitConfig(cold_share=share, seed=seed))
    assert_array_equal(cold, same)
    is_cold = labelled["item_id"].isin(cold)
    counts = labelled.loc[is_cold, "split"].value_counts()
    assert set(counts.index) <= {"val", "test"} and counts.get("val", 0) == round(validated * is_cold.sum())
    pd.testing.assert_series_equal(labelled.loc[~is_cold, "split"], whole.loc[~is_cold, "split"])


def test_the_split_of_papers_on_cold_start_shares_out_cold_clicks_evenly() -> None:
    # 30 users click 10 of 20 items; 4 are cold, on which lie about 60 clicks: half to validation, half to test.
    labelled, cold = split(pairs(), ITEMS, SplitConfig(cold_share=0.2, cold_validation=0.5))
    strictly_cold = labelled.loc[labelled["item_id"].isin(cold), "split"].value_counts()
    assert len(cold) == 4 and strictly_cold["val"] == round(strictly_cold.sum() / 2)


def test_a_share_for_validation_without_cold_items_is_refused() -> None:
    with pytest.raises(ValueError, match=r"split\.cold_validation=0\.5 .* of which there are none"):
        SplitConfig(cold_validation=0.5)


def test_cold_items_are_drawn_among_the_clicked_ones_whatever_the_order_of_the_file() -> None:
    frame = pairs(5, 4)
    config = SplitConfig(kind="given", cold_share=0.3)
    labels = np.resize(["train", "val", "test"], len(frame)).astype(object)
    _, cold = split(frame.assign(split=labels), ITEMS, config)
    shuffled = frame.assign(split=labels).sample(frac=1, random_state=0).reset_index(drop=True)
    _, again = split(shuffled, ITEMS[::-1], config)
    assert_array_equal(cold, again)
    assert set(cold) <= set(frame["item_id"])


def test_cold_items_may_be_read_from_a_file_of_strings_or_numbers(tmp_path: Path) -> None:
    frame = pairs().replace({"item_id": dict(zip(ITEMS, map(str, range(20)), strict=True))})
    items = np.array([str(item) for item in range(20)], dtype=object)
    (tmp_path / "cold.json").write_text('[3, "5", 3]')
    labelled, cold = split(frame, items, SplitConfig(cold_file=tmp_path / "cold.json"))
    assert cold.tolist() == ["3", "5"]
    assert (labelled.loc[labelled["item_id"].isin(["3", "5"]), "split"] == "test").all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, ", "cold.json: not valid JSON"),
        ("[]", "cold.json: expected a JSON list of item ids"),
        ('{"i01": 1}', "cold.json: expected a JSON list of item ids"),
        ("[true]", "cold.json: item holds boolean values; expected strings or whole numbers"),
        ('["i01", 1.5]', "cold.json: item in data row 2 is 1.5; expected an id"),
        ('["i01", "x", "y"]', "cold.json: 2 of the items are not in the catalogue, e.g. 'x'"),
    ],
)
def test_a_bad_cold_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cold.json").write_text(text)
    with pytest.raises(InputError) as caught:
        split(pairs(), ITEMS, SplitConfig(cold_file=tmp_path / "cold.json"))
    assert message in str(caught.value)


def test_a_missing_cold_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cold\.json: cannot be read .* check split\.cold_file"):
        split(pairs(), ITEMS, SplitConfig(cold_file=tmp_path / "cold.json"))


def test_a_kind_without_its_column_is_refused() -> None:
    with pytest.raises(InputError, match=r"split\.kind=given needs the column split"):
        split(pairs(), ITEMS, SplitConfig(kind="given"))
    with pytest.raises(InputError, match=r"split\.kind=time needs the column timestamp"):
        split(pairs(), ITEMS, SplitConfig(kind="time"))


@given(st.floats(0.05, 0.6), st.integers(0, 20), st.sampled_from([0.0, 0.2]))
@settings(deadline=None, max_examples=40)
def test_pseudo_cold_items_give_their_training_clicks_to_validation_and_nothing_else_moves(
    share: float, seed: int, cold_share: float
) -> None:
    before, cold = split(pairs(), ITEMS, SplitConfig(cold_share=cold_share))
    after, pseudo_cold = play_cold(before, SplitConfig(pseudo_cold_share=share, pseudo_cold_seed=seed))
    trained = set(before.loc[before["split"] == "train", "item_id"])
    assert len(pseudo_cold) == max(1, round(share * len(trained)))
    assert set(pseudo_cold) <= trained and not set(pseudo_cold) & set(cold)
    moved = before["item_id"].isin(pseudo_cold) & (before["split"] == "train")
    assert (after.loc[moved, "split"] == "val").all() and moved.any()
    pd.testing.assert_frame_equal(after[~moved], before[~moved])


def test_pseudo_cold_items_hang_on_their_own_seed_and_the_training_clicks_alone() -> None:
    labelled, _ = split(pairs(), ITEMS, SplitConfig())

    def drawn(frame: pd.DataFrame, pseudo_cold_seed: int, seed: int = 0) -> list[str]:
        config = SplitConfig(pseudo_cold_share=0.3, pseudo_cold_seed=pseudo_cold_seed, seed=seed)
        return play_cold(frame, config)[1].tolist()

    first = drawn(labelled, 0)
    assert len(first) == 6 and first == sorted(first)
    assert first == drawn(labelled, 0, seed=5) == drawn(labelled[labelled["split"] == "train"], 0)
    assert first == drawn(labelled.sample(frac=1, random_state=0), 0)
    assert first != drawn(labelled, 1)


def test_no_item_plays_cold_by_default() -> None:
    labelled, _ = split(pairs(), ITEMS, SplitConfig())
    after, pseudo_cold = play_cold(labelled, SplitConfig())
    pd.testing.assert_frame_equal(after, labelled)
    assert len(pseudo_cold) == 0


def test_a_share_that_leaves_nothing_to_train_on_is_refused() -> None:
    frame = pd.DataFrame({"user_id": ["u0", "u1"], "item_id": ["i00", "i00"], "split": ["train", "val"]})
    with pytest.raises(InputError, match=r"split\.pseudo_cold_share=0\.5 leaves no training interaction"):
        play_cold(frame, SplitConfig(pseudo_cold_share=0.5))


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_an_empty_split_is_named(empty: str) -> None:
    others = [name for name in ("train", "val", "test") if name != empty]
    frame = pairs().assign(split=np.resize(others, 300))
    with pytest.raises(InputError, match=f"split {empty} is empty"):
        split(frame, ITEMS, SplitConfig(kind="given"))


def test_the_public_cold_split_has_its_known_size(tiktok: Config, tmp_path: Path) -> None:
    raw = read(tiktok.data, tmp_path)
    cold_file = tiktok.data.path / "cold_items.json"
    items = raw.catalogue.frame["item_id"].to_numpy()
    labelled, cold = split(raw.interactions, items, SplitConfig(kind="given", cold_file=cold_file))
    assert len(cold) == len(json.loads(cold_file.read_text())) == 1_342
    assert sizes(labelled) == {"train": 48_692, "val": 2_585, "test": 5_124 + 12_321}
    on_cold = labelled[labelled["item_id"].isin(cold)]
    assert (on_cold["split"] == "test").all()
    assert len(on_cold) == 12_321 and on_cold["user_id"].nunique() == 3_414
