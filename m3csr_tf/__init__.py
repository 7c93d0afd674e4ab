"""M3CSR: a two-tower recommender for cold-start short videos, as a TensorFlow pipeline.

`train`, `open_release`, `Run` and `Release` are the Python API (docs/python.md); `errors` has what they raise. They are
imported when they are first asked for, since TensorFlow takes seconds.

Importing this package chooses Keras 2 for TensorFlow, because tensorflow-recommenders needs it; that choice
only counts before TensorFlow's first import, so a late one is refused here rather than failing strangely later.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"

if "tensorflow" in sys.modules and os.environ.get(LEGACY_KERAS) not in {"1", "true", "True"}:
    raise ImportError(
        f"TensorFlow was imported before m3csr_tf, without {LEGACY_KERAS}=1: Keras 3 is active, and "
        "tensorflow-recommenders needs Keras 2. Import m3csr_tf first, or set "
        f"{LEGACY_KERAS}=1 in the environment before TensorFlow is imported."
    )
os.environ[LEGACY_KERAS] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Its start-up notices bury our messages; Python still raises.

__version__ = "0.1.0"

if TYPE_CHECKING:
    from m3csr_tf import errors
    from m3csr_tf.api import Release, Run, open_release, train

__all__ = ["Release", "Run", "__version__", "errors", "open_release", "train"]
_LAZY = {"errors": "m3csr_tf.errors"} | dict.fromkeys(("Release", "Run", "open_release", "train"), "m3csr_tf.api")


def __getattr__(name: str) -> Any:
    """What is imported on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LAZY[name])
    found = module if name == "errors" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
