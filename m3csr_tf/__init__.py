"""M3CSR: a two-tower recommender for cold-start short videos, as a TensorFlow pipeline.

Importing this package chooses Keras 2 for TensorFlow, because tensorflow-recommenders needs it; that choice
only counts before TensorFlow's first import, so a late one is refused here rather than failing strangely later.
"""

import os
import sys

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
