"""Row-wise Adam: Adam where gradients are dense, lazy where they are sparse, with an exact moving average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.training.optimizer import RowwiseAdam

RATE, BETA_1, BETA_2, EPSILON = 0.01, 0.9, 0.999, 1e-7
ROWS, WIDTH = 6, 3
# Rows touched at each step: some twice in one step, some again and again, row 4 once, row 5 never.
TOUCHED = [[0, 2], [1, 1, 3], [0], [2, 0, 2, 4], [3], [1, 0], [0, 3, 0, 0]]


def gradients(seed: int = 0) -> list[tf.IndexedSlices]:
    """A sparse gradient of each step, as gathers hand it on: lines of one row repeated."""
    random = np.random.default_rng(seed)
    return [
        tf.IndexedSlices(
            tf.constant(random.normal(size=(len(rows), WIDTH)), tf.float32),
            tf.constant(rows),
            tf.constant([ROWS, WIDTH]),
        )
        for rows in TOUCHED
    ]


def table(seed: int = 1) -> tf.Variable:
    return tf.Variable(tf.random.stateless_normal([ROWS, WIDTH], seed=[seed, 0]))


def lazy_adam(weights: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Adam on the touched rows alone, step by step: weights and moments after each."""
    weights, first, second = weights.astype(np.float64), np.zeros((ROWS, WIDTH)), np.zeros((ROWS, WIDTH))
    states = []
    for step, gradient in enumerate(gradients(), start=1):
        dense = np.zeros((ROWS, WIDTH))
        np.add.at(dense, gradient.indices.numpy(), gradient.values.numpy())
        for row in set(TOUCHED[step - 1]):
            first[row] = BETA_1 * first[row] + (1 - BETA_1) * dense[row]
            second[row] = BETA_2 * second[row] + (1 - BETA_2) * dense[row] ** 2
            rate = RATE * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            weights[row] -= rate * first[row] / (np.sqrt(second[row]) + EPSILON)
        states.append({"weights": weights.copy(), "first_moment": first.copy(), "second_moment": second.copy()})
    return states


def state(optimizer: RowwiseAdam, name: str) -> np.ndarray:
    """A slot of the only variable."""
    (found,) = (variable for variable in optimizer.variables if name in variable.name)
    return found.numpy()


def test_on_dense_gradients_it_is_adam() -> None:
    random = np.random.default_rng(0)
    ours, keras = tf.Variable([[1.0, -2.0], [0.5, 3.0]]), tf.Variable([[1.0, -2.0], [0.5, 3.0]])
    mine, adam = RowwiseAdam(RATE, averaging=0.9), tf.keras.optimizers.Adam(RATE)
    for _ in range(20):
        gradient = tf.constant(random.normal(size=(2, 2)), tf.float32)
        mine.apply_gradients([(gradient, ours)])
        adam.apply_gradients([(gradient, keras)])
        np.testing.assert_allclose(ours, keras, atol=1e-6)


def test_a_learning_rate_schedule_is_followed() -> None:
    cosine = tf.keras.optimizers.schedules.CosineDecay(0.5, decay_steps=4)
    ours, keras = tf.Variable([[1.0]]), tf.Variable([[1.0]])
    mine, adam = RowwiseAdam(cosine), tf.keras.optimizers.Adam(cosine)
    for slope in (1.0, -0.5, 2.0, 0.1, 1.0):
        mine.apply_gradients([(tf.constant([[slope]]), ours)])
        adam.apply_gradients([(tf.constant([[slope]]), keras)])
        # A step is half of one here, and the kernel rounds 1 - beta_2 to float32.
        np.testing.assert_allclose(ours, keras, atol=1e-5)


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_on_sparse_gradients_it_is_lazy_adam_and_repeated_rows_are_summed(averaging: float) -> None:
    variable = table()
    expected = lazy_adam(variable.numpy())
    optimizer = RowwiseAdam(RATE, averaging)
    for gradient, after in zip(gradients(), expected, strict=True):
        optimizer.apply_gradients([(gradient, variable)])
        np.testing.assert_allclose(variable, after["weights"], atol=1e-6)
        for slot in ("first_moment", "second_moment"):
            np.testing.assert_allclose(state(optimizer, slot), after[slot], atol=1e-6)


def test_rows_without_a_gradient_keep_weights_and_moments_bit_for_bit() -> None:
    variable = table()
    optimizer = RowwiseAdam(RATE, averaging=0.9)
    for gradient, rows in zip(gradients(), TOUCHED, strict=True):
        optimizer.build([variable])
        before = [variable.numpy(), state(optimizer, "first_moment"), state(optimizer, "second_moment")]
        optimizer.apply_gradients([(gradient, variable)])
        after = [variable.numpy(), state(optimizer, "first_moment"), state(optimizer, "second_moment")]
        untouched = np.setdiff1d(np.arange(ROWS), rows)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(new[untouched], old[untouched])
            assert (new[rows] != old[rows]).all()


@pytest.mark.parametrize("graph", [False, True])
def test_the_average_of_every_row_is_the_recursion_over_all_steps(graph: bool) -> None:
    averaging = 0.8
    sparse, dense, still = table(), tf.Variable([1.0, -1.0]), tf.Variable([[2.0]])  # The last never has a gradient.
    variables = [sparse, dense, still]
    optimizer = RowwiseAdam(RATE, averaging)
    optimizer.build(variables)
    apply = optimizer.apply_gradients
    if graph:
        apply = tf.function(apply)
    averages = [variable.numpy().astype(np.float64) for variable in variables]
    for step, gradient in enumerate(gradients()):
        apply([(gradient, sparse), (tf.constant([0.3, float(step)]), dense)])
        averages = [
            averaging * average + (1 - averaging) * variable.numpy()
            for average, variable in zip(averages, variables, strict=True)
        ]
        for found, expected in zip(optimizer.averages(variables), averages, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_sparse_step_computes_nothing_of_the_size_of_the_table() -> None:
    rows = 1009
    variable = tf.Variable(tf.ones([rows, WIDTH]))
    optimizer = RowwiseAdam(RATE, averaging=0.8)
    optimizer.build([variable])

    @tf.function
    def step(values: tf.Tensor, lines: tf.Tensor) -> None:
        optimizer.apply_gradients([(tf.IndexedSlices(values, lines, tf.constant([rows, WIDTH])), variable)])

    graph = step.get_concrete_function(tf.ones([3, WIDTH]), tf.constant([4, 2, 4])).graph
    shapes = [output.shape for operation in graph.get_operations() for output in operation.outputs]
    assert not [shape for shape in shapes if shape.rank and shape[0] == rows]


def test_variables_keep_their_own_state_when_some_have_no_gradient() -> None:
    first, second = tf.Variable([[1.0]]), tf.Variable([[2.0]])
    alone, optimizer = tf.Variable([[2.0]]), RowwiseAdam(RATE)
    optimizer.build([first, second])
    of_alone = RowwiseAdam(RATE)
    of_alone.build([alone])
    for _ in range(2):  # Only the second: the first's moments must not serve it.
        optimizer.apply_gradients([(tf.constant([[0.5]]), second)])
        of_alone.apply_gradients([(tf.constant([[0.5]]), alone)])
    optimizer.apply_gradients([(tf.constant([[9.0]]), first), (tf.constant([[0.25]]), second)])
    of_alone.apply_gradients([(tf.constant([[0.25]]), alone)])
    np.testing.assert_array_equal(second, alone)


def test_averages_follow_the_order_that_is_asked_for() -> None:
    first, second = tf.Variable([[1.0]]), tf.Variable([[2.0]])
    optimizer = RowwiseAdam(RATE, averaging=0.5)
    optimizer.build([first, second])
    np.testing.assert_array_equal(optimizer.averages([second, first]), [[[2.0]], [[1.0]]])


def test_a_vector_of_weights_may_have_sparse_gradients_too() -> None:
    weights = tf.Variable([1.0, 2.0, 3.0, 4.0])
    optimizer = RowwiseAdam(RATE, averaging=0.5)
    optimizer.build([weights])
    expected = weights.numpy().astype(np.float64)
    for row in (2, 0, 2):
        optimizer.apply_gradients(
            [(tf.IndexedSlices(tf.constant([1.0]), tf.constant([row]), tf.constant([4])), weights)]
        )
        expected = 0.5 * expected + 0.5 * weights.numpy()
    np.testing.assert_allclose(optimizer.averages([weights])[0], expected, atol=1e-6)
    assert weights.numpy()[1] == 2 and weights.numpy()[2] < 3


def test_slopes_of_a_number_that_many_examples_read_are_summed() -> None:
    ours, dense = tf.Variable([1.0, 2.0, 3.0]), tf.Variable([1.0, 2.0, 3.0])
    one, other = RowwiseAdam(RATE), RowwiseAdam(RATE)
    slices = tf.IndexedSlices(tf.constant([1.0, 0.5, -3.0, 2.0]), tf.constant([2, 0, 2, 0]), tf.constant([3]))
    one.apply_gradients([(slices, ours)])
    other.apply_gradients([(tf.constant([2.5, 0.0, -2.0]), dense)])
    np.testing.assert_allclose(ours, dense, atol=1e-6)


def test_variables_take_their_averages_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3csr_tf.training.optimizer._ROWS", 2)
    variable, bias = table(), tf.Variable([1.0, 2.0, 3.0])
    optimizer = RowwiseAdam(RATE, averaging=0.5)
    optimizer.build([variable, bias])
    for gradient in gradients()[:3]:
        optimizer.apply_gradients([(gradient, variable), (tf.constant([1.0, -1.0, 0.5]), bias)])
    expected = [average.numpy() for average in optimizer.averages([variable, bias])]
    assert not np.allclose(expected[0], variable)
    for weight, average in zip((variable, bias), expected, strict=True):
        optimizer.put_averages(weight)
        np.testing.assert_allclose(weight, average, rtol=1e-6)


def test_without_averaging_the_averages_are_the_weights() -> None:
    variable = table()
    optimizer = RowwiseAdam(RATE)
    optimizer.apply_gradients([(gradients()[0], variable)])
    np.testing.assert_array_equal(optimizer.averages([variable])[0], variable)


def test_a_restored_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    variable, optimizer = table(), RowwiseAdam(RATE, averaging=0.8)
    steps = gradients()
    for gradient in steps[:4]:
        optimizer.apply_gradients([(gradient, variable)])
    saved = tf.train.Checkpoint(variable=variable, optimizer=optimizer).write(str(tmp_path / "state"))
    restored, again = table(seed=5), RowwiseAdam(RATE, averaging=0.8)
    again.build([restored])
    tf.train.Checkpoint(variable=restored, optimizer=again).read(saved).assert_consumed()
    for gradient in steps[4:]:
        optimizer.apply_gradients([(gradient, variable)])
        again.apply_gradients([(gradient, restored)])
    np.testing.assert_array_equal(restored, variable)
    np.testing.assert_array_equal(again.averages([restored])[0], optimizer.averages([variable])[0])


def test_a_variable_takes_its_share_of_the_learning_rate_and_none_is_frozen() -> None:
    whole, half, frozen = (tf.Variable([1.0, -2.0]) for _ in range(3))
    optimizer = RowwiseAdam(RATE)
    optimizer.build([whole, half, frozen])
    optimizer.slow_down({half.ref(): 0.5, frozen.ref(): 0.0})
    for slope in (0.3, -0.7):
        optimizer.apply_gradients([(tf.constant([slope, 2 * slope]), variable) for variable in (whole, half, frozen)])
    np.testing.assert_array_equal(frozen, [1, -2])
    np.testing.assert_allclose(half - [1, -2], 0.5 * (whole - [1, -2]), rtol=1e-4)
    assert (whole.numpy() != [1, -2]).all()


@pytest.mark.parametrize("rate", [0.25, tf.keras.optimizers.schedules.CosineDecay(0.25, 10)], ids=["fixed", "cosine"])
def test_the_configuration_rebuilds_the_optimizer(rate: Any) -> None:
    optimizer = RowwiseAdam(rate, averaging=0.9, beta_1=0.8, beta_2=0.99, epsilon=1e-5, name="rowwise")
    rebuilt = RowwiseAdam.from_config(optimizer.get_config())
    assert rebuilt.get_config() == optimizer.get_config()
    variables = table(), table()
    for one, variable in zip((optimizer, rebuilt), variables, strict=True):
        one.apply_gradients([(gradients()[0], variable)])
    np.testing.assert_array_equal(*variables)
