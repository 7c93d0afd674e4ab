"""Metrics of every user as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3csr_tf.errors import RunError
from m3csr_tf.evaluation import per_user
from m3csr_tf.evaluation.lists import ByItem
from m3csr_tf.evaluation.report import Evaluation, Slice


def evaluation(recalls: list[float]) -> Evaluation:
    values = np.array(recalls)
    part = Slice(np.array([2, 5]), {"recall@20": values, "recall@10": values / 2, "ndcg@20": values / 3})
    counts = np.arange(3)
    return Evaluation({"all": part, "cold": Slice(np.zeros(0, int), {})}, ByItem(counts, counts, counts + 1))


def test_what_is_written_is_read_back_user_by_user(tmp_path: Path) -> None:
    by_split = {
        "test": {"M3CSR": evaluation([0.5, 1]), "ease": evaluation([0, 0.1])},
        "val": {"M3CSR": evaluation([1, 1])},
    }
    path = tmp_path / "per_user.npz"
    per_user.write(path, per_user.by_system(by_split))
    found = per_user.read(path)
    assert {name: list(splits) for name, splits in found.items()} == {"M3CSR": ["test", "val"], "ease": ["test"]}
    part = found["ease"]["test"]["all"]
    assert part.users.tolist() == [2, 5] and list(part.values) == ["recall@20", "ndcg@20"]  # Others are not kept.
    np.testing.assert_array_equal(part.values["ndcg@20"], np.array([0, 0.1]) / 3)  # To the bit.
    assert not len(found["ease"]["test"]["cold"].users)
    assert found["M3CSR"]["val"].by_item.listed.tolist() == [1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", None])
def test_a_file_that_is_cut_or_missing_is_refused_with_a_remedy(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "per_user.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"per_user\.npz.*run pipelines/evaluate\.py again"):
        per_user.read(path)
