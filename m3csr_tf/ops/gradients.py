"""Functions with a custom gradient, which is left out of graphs that are only served.

If the graph of a SavedModel has custom gradients, TensorFlow warns about each of them wherever the model is loaded,
since gradients of gradients cannot be saved. A served model needs no gradients.
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
    """Inside this context, functions are traced and called without their custom gradients."""
    before = _forward_only.set(True)
    try:
        yield
    finally:
        _forward_only.reset(before)


def own_gradient(
    function: Callable[_Arguments, tuple[tf.Tensor, Callable[..., Any]]],
) -> Callable[_Arguments, tf.Tensor]:
    """Decorates a function with its custom gradient, as `tf.custom_gradient` does, unless `forward_only` is active.

    Args:
      function: returns a tensor, and a function from the gradient of that tensor to the gradients of the arguments.

    Returns:
      A function that returns the tensor alone.
    """
    with_gradient = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> tf.Tensor:
        if _forward_only.get():
            return function(*args, **kwargs)[0]
        return with_gradient(*args, **kwargs)

    return call
