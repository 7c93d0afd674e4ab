"""What people do with the videos that they are shown, drawn from the true utilities by common random numbers.

For a video that is shown, with the offsets of `Population.offsets`:

    P(click)          = sigmoid(utility + offset_click)
    P(like | click)   = sigmoid(utility + offset_like)
    P(follow | click) = sigmoid(utility + offset_follow)
    watch time        = length of the video * sigmoid(utility + offset_click + logistic noise), 0 without a click

An arm shows a video to a person only once, so a draw belongs to the person and the video: it is the same whichever arm
shows the video, and in whichever round.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from m3csr_tf.ids import NO_ITEM
from m3csr_tf.simulation.population import ITEM, USER, Population
from m3csr_tf.simulation.randomness import uniforms

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
    draws = {
        what: uniforms(population.simulation.seed, what, user, item) for what in ("click", "like", "follow", "watch")
    }
    offsets = population.offsets
    click = draws["click"] < expit(utility + offsets["click"])
    completion = expit(utility + offsets["click"] + logit(draws["watch"]))
    return pd.DataFrame(
        {
            USER: user.astype(np.int32),
            ITEM: item.astype(np.int32),
            RANK: rank.astype(np.int16),
            VIEWS: np.minimum(views[item], np.iinfo(np.int32).max).astype(np.int32),
            CLICK: click,
            LIKE: click & (draws["like"] < expit(utility + offsets["like"])),
            FOLLOW: click & (draws["follow"] < expit(utility + offsets["follow"])),
            WATCH: np.where(click, population.lengths[item] * completion, 0).astype(np.float32),
        }
    )
