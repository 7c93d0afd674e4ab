"""Adam with a cost, for an embedding table, in proportion to the rows that the batch touched.

Keras's Adam decays its moments over the whole table at every step even for sparse gradients, and its weight averaging
is dense too, so that a step's cost grows with the catalogue. Here moments, weights and averages of untouched rows are
left alone. The average needs no approximation for that: while a row rests, its average moves towards a constant, which
has a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from m3csr_tf.ops.gather import scatter_sum

_ROWS = 1 << 18
"""Number of rows of a table that are averaged at once."""
_NEVER_RESTS = tf.int64.max
"""Stands for the step of the last update of a row that no sparse gradient has named; its average is always current."""


class _Step(NamedTuple):
    """The scalars that all variables of a step share, computed once.

    Attributes:
      number: int64, the number of the step, from 1.
      rate: float32, the learning rate.
      corrected_rate: float32, with Adam's bias corrections.
      beta_1_power, beta_2_power: float32, the decays to the power of the number.
    """

    number: tf.Tensor
    rate: tf.Tensor
    corrected_rate: tf.Tensor
    beta_1_power: tf.Tensor
    beta_2_power: tf.Tensor


class RowwiseAdam(tf.keras.optimizers.Optimizer):
    """Adam [Kingma and Ba 2014], lazy on sparse gradients, with an exponential moving average of the weights.

    On dense gradients it is Adam. On sparse ones, moments of untouched rows do not decay, and bias correction uses the
    global step. The average A_t = averaging * A_{t-1} + (1 - averaging) * w_t is exact for every row.

    Args:
      learning_rate: step size.
      averaging: decay of the average in each step; 0 keeps the last weights.
      beta_1, beta_2, epsilon: the parameters of Adam.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        averaging: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "RowwiseAdam",
        **kwargs: Any,
    ) -> None:
        # Keras would apply a decay of 0 to whole tables at every step; None switches it off.
        super().__init__(name=name, **({"weight_decay": None} | kwargs | {"jit_compile": False}))
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.averaging = averaging
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates moments, averages (started at the weights) and, for each row, the step of its last update."""
        if getattr(self, "_slots_built", False):
            return  # Keras calls it at every step, and would number the variables of that step anew.
        super().build(var_list)
        self._slots_built = True
        self._shares = [1.0] * len(var_list)
        self._first, self._second, self._average, self._updated = [], [], [], []
        for variable in var_list:
            self._first.append(self.add_variable_from_reference(variable, "first_moment"))
            self._second.append(self.add_variable_from_reference(variable, "second_moment"))
            if self.averaging:
                self._average.append(self.add_variable_from_reference(variable, "average", initial_value=variable))
                rows = variable.shape[:1] if variable.shape.rank else [1]
                never = tf.fill(rows, _NEVER_RESTS)
                self._updated.append(tf.Variable(never, trainable=False, name="updated_at"))

    @property
    def state(self) -> list[tf.Variable]:
        """All variables that it keeps between steps; available after `build`."""
        return [*self.variables, *self._updated]

    def slow_down(self, shares: Mapping[Any, float]) -> None:
        """Multiplies the learning rate of variables (by `variable.ref()`) by a factor; call it after `build`.

        A factor of 0 freezes them.
        """
        for reference, share in shares.items():
            self._shares[self._index_dict[self._var_key(reference.deref())]] = share

    def _distributed_apply_gradients_fn(self, distribution: Any, grads_and_vars: Any, **kwargs: Any) -> Any:
        """Calls Keras's own method, after computing once what all variables share."""
        self._step = self._next_step()
        return super()._distributed_apply_gradients_fn(distribution, grads_and_vars, **kwargs)

    def _next_step(self) -> _Step:
        number = self.iterations + 1
        exponent, rate = tf.cast(number, tf.float32), tf.cast(self.learning_rate, tf.float32)
        first, second = self.beta_1**exponent, self.beta_2**exponent
        return _Step(number, rate, rate * tf.sqrt(1 - second) / (1 - first), first, second)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one variable; rows that a sparse gradient does not name keep all their state."""
        index = self._index_dict[self._var_key(variable)]
        first, second = self._first[index], self._second[index]
        step, share = self._step, self._shares[index]
        if not isinstance(gradient, tf.IndexedSlices):
            # One kernel for what would be ten; a model has dozens of small weights.
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=step.beta_1_power,
                beta2_power=step.beta_2_power,
                lr=step.rate if share == 1 else step.rate * share,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )
            if self.averaging:
                average = self._average[index]
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=average.handle, alpha=1 - self.averaging, delta=average - variable
                )
            return
        rows, slopes = gradient.indices, gradient.values
        old_first, old_second = tf.gather(first, rows), tf.gather(second, rows)
        new_first = old_first + (slopes - old_first) * (1 - self.beta_1)
        new_second = old_second + (tf.square(slopes) - old_second) * (1 - self.beta_2)
        old = tf.gather(variable, rows)
        new = old - step.corrected_rate * share * new_first / (tf.sqrt(new_second) + self.epsilon)
        if self.averaging:
            rested = self._rested(tf.gather(self._average[index], rows), old, tf.gather(self._updated[index], rows))
            self._scatter(self._average[index], rows, rested + (new - rested) * (1 - self.averaging))
            self._scatter(self._updated[index], rows, tf.fill(tf.shape(rows), step.number))
        self._scatter(first, rows, new_first)
        self._scatter(second, rows, new_second)
        self._scatter(variable, rows, new)

    def averages(self, variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
        """Returns the averaged weights as of the last step, in the order of `variables`, or the weights themselves.

        It returns the weights themselves where averaging is off.
        """
        if not self.averaging:
            return [tf.identity(variable) for variable in variables]
        indices = [self._index_dict[self._var_key(variable)] for variable in variables]
        return [
            self._rested(self._average[index], variable, self._updated[index])
            for index, variable in zip(indices, variables, strict=True)
        ]

    def put_averages(self, variable: tf.Variable) -> None:
        """Assigns its average to a variable, some rows at a time, so that a table is not in memory twice."""
        index = self._index_dict[self._var_key(variable)]
        if not self.averaging:
            return
        average, updated = self._average[index], self._updated[index]
        if variable.shape.rank < 2:
            variable.assign(self._rested(average, variable, updated))
            return
        for start in range(0, variable.shape[0], _ROWS):
            rows = tf.range(start, min(start + _ROWS, variable.shape[0]))
            some = (tf.gather(table, rows) for table in (average, variable, updated))
            self._scatter(variable, rows, self._rested(*some))

    def _rested(self, average: tf.Tensor, weight: tf.Tensor, updated: tf.Tensor) -> tf.Tensor:
        """Returns the average after all finished steps of weights unchanged since step `updated`, if that is past."""
        steps = tf.cast(tf.maximum(self.iterations - updated, 0), tf.float32)
        kept = tf.reshape(self.averaging**steps, [-1] + [1] * (len(average.shape) - 1))
        return weight + kept * (average - weight)

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> list[Any]:
        """Sums the entries of a gradient that belong to the same row, as Keras does, but only where there are any."""
        return [_with_distinct_rows(grad) if isinstance(grad, tf.IndexedSlices) else grad for grad in grads]

    @staticmethod
    def _scatter(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
        variable.scatter_update(tf.IndexedSlices(values, rows))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild the optimizer."""
        return super().get_config() | {
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "averaging": self.averaging,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


def _with_distinct_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    rows, positions = tf.unique(gradient.indices)
    values = tf.cond(
        tf.size(rows) == tf.size(positions),
        lambda: gradient.values,
        lambda: _summed(gradient.values, positions, tf.size(rows)),
    )
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _summed(values: tf.Tensor, positions: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    if values.shape.rank > 1:
        return scatter_sum(values, positions, count)
    return scatter_sum(values[:, tf.newaxis], positions, count)[:, 0]
