"""What people do with the videos that they are shown, drawn from the true utilities by common random numbers.

Of a video that is shown, with the offsets of `Population.offsets`, P(click) = sigmoid(utility + offset_click). Likes,
follows and the seconds watched of a click are those of `data.feedback`; without a click there are none.

An arm shows a video to a person only once, so a draw belongs to the person and the video: it is the same whichever arm
shows the video, and in whichever round.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from m3csr_tf.data.feedback import happens, share_watched
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.simulation.population import ITEM, USER, Population

RANK, VIEWS, CLICK, LIKE, FOLLOW, WATCH = "rank", "views", "click", "like", "follow", "watch"
"""Columns of impressions beside USER and ITEM: the place in the list, from 0; the views of the video before the round;
whether it was clicked, liked and followed; and the seconds that it was watched.
"""


def impressions(
    population: Population, time: int, users: np.ndarray, lists: np.ndarray, views: np.ndarray
) -> pd.DataFrame:
    """Shows lists, and returns the result of each of their places.

    Args:
      population: the people and the videos.
      time: Unix seconds.
      users: int [visitors].
      lists: items int [visitors, n], best first; NO_ITEM where none is left.
      views: the views of each video until now, int64 [items].

    Returns:
      USER, ITEM int32, RANK int16, VIEWS int32, CLICK, LIKE, FOLLOW bool, WATCH float32. There is a row for each place
      that shows something, in the order of users and places.
    """
    line, rank = np.nonzero(lists != NO_ITEM)
    user, item = users[line], lists[line, rank]
    utility = population.utilities(user, item, time)
    seed, offsets = population.simulation.seed, population.offsets
    click, like, follow = (
        happens(seed, what, user, item, utility + offsets[what]) for what in ("click", "like", "follow")
    )
    completion = share_watched(seed, user, item, utility + offsets["click"])
    return pd.DataFrame(
        {
            USER: user.astype(np.int32),
            ITEM: item.astype(np.int32),
            RANK: rank.astype(np.int16),
            VIEWS: np.minimum(views[item], np.iinfo(np.int32).max).astype(np.int32),
            CLICK: click,
            LIKE: click & like,
            FOLLOW: click & follow,
            WATCH: np.where(click, population.lengths[item] * completion, 0).astype(np.float32),
        }
    )
