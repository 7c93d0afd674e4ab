"""Functions with a gradient of their own, which is left out of graphs that nobody trains.

A SavedModel whose graph holds such gradients makes TensorFlow warn of each of them wherever it is loaded: gradients of
gradients cannot be saved. What is served needs none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec

import tensorflow as tf

_Arguments = ParamSpec("_Arguments")

_forward_only = ContextVar("forward_only", default=False)


@contextmanager
def forward_only() -> Iterator[None]:
    """Inside the block, what is traced or called has the gradients that TensorFlow finds, none of its own."""
    before = _forward_only.set(True)
    try:
        yield
    finally:
        _forward_only.reset(before)


def own_gradient(
    function: Callable[_Arguments, tuple[tf.Tensor, Callable[..., Any]]],
) -> Callable[_Arguments, tf.Tensor]:
    """As `tf.custom_gradient`, outside of `forward_only`: `function` returns a tensor and its gradient."""
    with_gradient = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> tf.Tensor:
        if _forward_only.get():
            return function(*args, **kwargs)[0]
        return with_gradient(*args, **kwargs)

    return call
