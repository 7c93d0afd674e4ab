from __future__ import annotations

import numpy as np
import pytest

from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.evaluation.significance import compare


def evaluation(recalls, users=None) -> Evaluation:
    users = np.arange(2, 2 + len(recalls)) if users is None else users
    return Evaluation({"all": Slice(users, {"recall@20": np.asarray(recalls, float)})})


def test_the_test_is_that_worked_out_by_hand():
    test = compare(evaluation([0.5, 1.0, 0.25, 1.0]), evaluation([0.0, 0.5, 0.25, 1.0]))
    # Differences 0.5, 0.5, 0, 0: mean 0.25, standard deviation sqrt(4 * 0.0625 / 3) = 0.28868, standard error 0.14434.
    # t = 1.7321 with 3 degrees of freedom: p = 0.1817; t at 97.5% is 3.1824, so the interval is 0.25 +- 0.45935.
    assert (test.first, test.second, test.users) == (0.6875, 0.4375, 4)
    assert test.difference == 0.25
    assert test.p_value == pytest.approx(0.1817, abs=1e-4)
    assert (test.low, test.high) == (pytest.approx(-0.20935, abs=1e-4), pytest.approx(0.70935, abs=1e-4))


def test_swapping_the_systems_mirrors_the_result():
    random = np.random.default_rng(0)
    one, other = evaluation(random.random(40)), evaluation(random.random(40))
    there, back = compare(one, other), compare(other, one)
    assert there.p_value == pytest.approx(back.p_value)
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))


def test_equal_systems_do_not_differ():
    test = compare(evaluation([0, 1, 0]), evaluation([0, 1, 0]))
    assert (test.difference, test.low, test.high, test.p_value) == (0, 0, 0, 1)


def test_a_difference_that_is_the_same_for_all_users_is_certain():
    test = compare(evaluation([1, 1, 1]), evaluation([0.5, 0.5, 0.5]))
    assert (test.low, test.high, test.p_value) == (0.5, 0.5, 0)


def test_equally_good_systems_are_called_different_once_in_twenty():
    # 1,000 pairs of systems that hit 6% of 2,000 users at random: p < 0.05 in 5% of them, +- 0.7% standard error.
    random = np.random.default_rng(3)
    small = [compare(*(evaluation(random.random(2000) < 0.06) for _ in range(2))).p_value < 0.05 for _ in range(1000)]
    assert abs(np.mean(small) - 0.05) < 0.022


@pytest.mark.parametrize("users", [np.array([2, 3, 5]), np.array([2, 3])])
def test_other_users_are_refused(users):
    with pytest.raises(ValueError, match="not the same"):
        compare(evaluation([0, 1, 0]), evaluation([1] * len(users), users))


def test_a_single_user_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        compare(evaluation([0]), evaluation([1]))


def test_a_metric_or_slice_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="recall@7 of slice all"):
        compare(evaluation([0, 1]), evaluation([0, 1]), "recall@7")
    with pytest.raises(ValueError, match="of slice cold"):
        compare(evaluation([0, 1]), evaluation([0, 1]), slice_name="cold")
