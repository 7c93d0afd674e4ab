"""The lists of one batch of users, made as a job makes them."""

from __future__ import annotations

import pandas as pd

from m3csr_tf.batch.filters import Selection
from m3csr_tf.batch.lists import ListMaker
from m3csr_tf.batch.search import Candidates
from m3csr_tf.releases.release import Release


def top_n_lists(release: Release, users: pd.DataFrame, n: int, selection: Selection | None = None) -> pd.DataFrame:
    """A row an item, in the order of `users` (user_id, history, exclusions), then of rank; of all items by default."""
    maker = ListMaker(release, selection or Selection(Candidates(release.index)), n)
    return maker.table(maker.find(users, maker.seen(*maker.ids(users)))).to_pandas()
