"""The adversarial loss of MMSSL (section 3.1.2 of the paper): generated user-item rows against observed ones.

A modality generates a user's row: the cosines of her content with that of every item. The observed row is her clicks
after a Gumbel-softmax, which fills the gap between a row of few ones and a dense one, plus the model's own cosines. A
critic tells them apart (Wasserstein, with the gradient penalty of Gulrajani et al. 2017), and the generator learns what
the critic cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


class Critic(tf.keras.layers.Layer):
    """Judges rows of user-item relations: high for observed ones.

    Its first layer has a row of weights an item, so that it can read any columns of the catalogue.

    Args:
      items: of the catalogue, reserved rows included.
      dim: width of the first layer; the second has half.
    """

    def __init__(self, items: int, dim: int) -> None:
        super().__init__(name="critic")
        # Of this size, the gradient of a row has a length near 1, where the penalty wants it.
        initial = tf.keras.initializers.RandomNormal(stddev=items**-0.5)
        self.first = self.add_weight(name="first", shape=[items, dim], initializer=initial)
        self.first_bias = self.add_weight(name="first_bias", shape=[dim], initializer="zeros")
        self.second = self.add_weight(name="second", shape=[dim, dim // 2])
        self.second_bias = self.add_weight(name="second_bias", shape=[dim // 2], initializer="zeros")
        self.third = self.add_weight(name="third", shape=[dim // 2, 1])

    def call(self, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        """Values float32 [n] of rows float32 [n, columns], whose columns are the items int32 [columns]."""
        hidden = tf.nn.leaky_relu(tf.matmul(rows, tf.gather(self.first, columns)) + self.first_bias)
        hidden = tf.nn.leaky_relu(tf.matmul(hidden, self.second) + self.second_bias)
        return tf.matmul(hidden, self.third)[:, 0]


def observed_rows(clicks: tf.Tensor, scores: tf.Tensor, uniform: tf.Tensor, tau: float, zeta: float) -> tf.Tensor:
    """Unit rows float32 [n, columns] that stand for what was observed.

    softmax((a + tau g) / tau) + zeta s / |s|, brought to length 1. The paper adds g itself, Gumbel noise, to a, which
    over thousands of items drowns the clicks; its code scales it down as well.

    Args:
      clicks: a, float32 [n, columns] of 0 and 1.
      scores: s, cosines by the model, float32 [n, columns].
      uniform: float32 [n, columns] in [0, 1), from which g = -log(-log uniform) is made.
      tau, zeta: see above.
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
    """The critic's loss, a scalar: mean D(generated) - mean D(observed) + penalty * mean (|grad D| - 1)^2.

    One optimizer minimises it for the critic and, through a reversed gradient, maximises it for the generator, by
    `weight`; the gradient penalty is no matter of the generator's.

    Args:
      critic: D.
      generated, observed: unit rows float32 [n, columns]; the observed ones are constants.
      columns: items int32 [columns].
      mix: float32 [n, 1] in [0, 1): where between the two the gradient is measured.
      weight: of the generator.
      penalty: of the gradient.
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
    """The values; their gradient is multiplied by -weight [Ganin and Lempitsky 2015]."""

    @tf.custom_gradient
    def reverse(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(x), lambda upstream: -weight * upstream

    return reverse(values)
