"""The adversarial loss of MMSSL (section 3.1.2 of the paper): a critic compares generated and observed user-item rows.

A modality generates the row of a user: the cosines of her content with that of every item. The observed row is made of
her clicks after a Gumbel-softmax, which makes a row of few ones dense like a generated one, plus the cosines of the
model's own vectors. A critic learns to tell the two apart (Wasserstein distance, with the gradient penalty of Gulrajani
et al. 2017), and the generator learns to produce rows that the critic cannot tell apart.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


class Critic(tf.keras.layers.Layer):
    """A critic of rows of user-item relations, which learns to give observed rows high values.

    Its first layer has one row of weights for each item, so that it can read any columns of the catalogue.

    Args:
      items: number of items of the catalogue, including the reserved rows.
      dim: width of the first layer; the second layer is half as wide.
    """

    def __init__(self, items: int, dim: int) -> None:
        super().__init__(name="critic")
        # With this standard deviation the gradient of a row has a length near 1, which the penalty asks for.
        initial = tf.keras.initializers.RandomNormal(stddev=items**-0.5)
        self.first = self.add_weight(name="first", shape=[items, dim], initializer=initial)
        self.first_bias = self.add_weight(name="first_bias", shape=[dim], initializer="zeros")
        self.second = self.add_weight(name="second", shape=[dim, dim // 2])
        self.second_bias = self.add_weight(name="second_bias", shape=[dim // 2], initializer="zeros")
        self.third = self.add_weight(name="third", shape=[dim // 2, 1])

    def call(self, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        """Returns the values float32 [n] of rows float32 [n, columns], whose columns are the items int32 [columns]."""
        hidden = tf.nn.leaky_relu(tf.matmul(rows, tf.gather(self.first, columns)) + self.first_bias)
        hidden = tf.nn.leaky_relu(tf.matmul(hidden, self.second) + self.second_bias)
        return tf.matmul(hidden, self.third)[:, 0]


def observed_rows(clicks: tf.Tensor, scores: tf.Tensor, uniform: tf.Tensor, tau: float, zeta: float) -> tf.Tensor:
    """Returns unit rows, float32 [n, columns], that represent the observed clicks.

    They are softmax((a + tau g) / tau) + zeta s / |s|, scaled to length 1. The paper adds the Gumbel noise g itself to
    a, which over thousands of items drowns the clicks; the authors' code scales the noise down as well.

    Args:
      clicks: a, float32 [n, columns] of 0 and 1.
      scores: s, the cosines of the model's vectors, float32 [n, columns].
      uniform: float32 [n, columns] in [0, 1), from which the noise g = -log(-log uniform) is made.
      tau: the temperature of the Gumbel-softmax.
      zeta: the weight of the cosines.
    """
    tiny = 1e-20
    gumbel = -tf.math.log(-tf.math.log(uniform + tiny) + tiny)
    dense = tf.nn.softmax(clicks / tau + gumbel, axis=1)
    return tf.math.l2_normalize(dense + zeta * tf.math.l2_normalize(scores, axis=1), axis=1)


def adversarial_loss(
    critic: Critic,
    generated: tf.Tensor,
    observed: tf.Tensor,
    columns: tf.Tensor,
    mix: tf.Tensor,
    weight: float,
    penalty: float,
) -> tf.Tensor:
    """Returns the critic's loss, mean D(generated) - mean D(observed) + penalty * mean (|grad D| - 1)^2, a scalar.

    A single optimizer minimises it for the critic and, through a reversed gradient that is multiplied by `weight`,
    maximises it for the generator. The gradient penalty does not affect the generator.

    Args:
      critic: D.
      generated, observed: unit rows float32 [n, columns]; the observed ones are constants.
      columns: the items of the columns, int32 [columns].
      mix: float32 [n, 1] in [0, 1), the position between the two rows at which the gradient is measured.
      weight: the factor on the generator's gradient.
      penalty: the weight of the gradient penalty.
    """
    real, fake = tf.stop_gradient(observed), tf.stop_gradient(generated)
    between = mix * real + (1 - mix) * fake
    with tf.GradientTape() as tape:
        tape.watch(between)
        total = tf.reduce_sum(critic(between, columns))
    slopes = tape.gradient(total, between)
    lengths = tf.sqrt(tf.reduce_sum(tf.square(slopes), axis=1) + 1e-12)
    loss = tf.reduce_mean(critic(reversed_gradient(generated, weight), columns))
    loss -= tf.reduce_mean(critic(real, columns))
    return loss + penalty * tf.reduce_mean(tf.square(lengths - 1))


def reversed_gradient(values: tf.Tensor, weight: float) -> tf.Tensor:
    """Returns the values unchanged, but multiplies their gradient by -weight (Ganin and Lempitsky 2015)."""

    @tf.custom_gradient
    def reverse(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(x), lambda upstream: -weight * upstream

    return reverse(values)
