"""The Python API: functions that take and return data frames, and raise errors where verbs print them (docs/python.md).

import m3csr_tf as m3

run = m3.train(interactions=clicks, catalogue=videos, modalities=["visual", "acoustic"], name="tonight")
release = run.release("saved_models/shorts")
release.recommend(users)
"""

from m3csr_tf.api.release import Release, open_release
from m3csr_tf.api.run import Run, train

__all__ = ["Release", "Run", "open_release", "train"]
