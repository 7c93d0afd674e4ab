"""The synthetic short-video world: raw data whose truth is known, of any size, the built-in default of the pipeline.

Every user has an intensity for each modality (how much looks, words or sound matter to her) and, in each modality,
tastes over its topics. Every video has topics in each modality and a salience for each: some are a feast for the eye,
others have a good soundtrack. The utility of video i for user u is a dot product,

    utility_ui = scale * sum_m intensity_um * <taste_um, salience_im * topics_im> + popularity_i

and a user clicks the videos that are largest in utility + Gumbel noise, that is, she draws without repeats from the
softmax of the utilities (among `shown` videos drawn for her, where the catalogue is larger). The popularity of a video
includes how much of its life, fading from its publishing on, falls into the log's period.

What a model gets to see of a video is an encoder's vector a modality: the salience-weighted topics through a random
linear map, and on top of that strong directions that have nothing to do with taste (half as many as the vector is
wide), noise, and an offset and a unit of the encoder's own. A ridge regression from content, one a user, cannot tell
those directions from the topics; a model that learns from all users' clicks together can.

View counts are left unknown: any that agreed with the clicks would tell of validation and test clicks, and of how
popular a strictly cold item turns out to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import WorldConfig
from m3csr_tf.data.catalogue import check_catalogue
from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.data.raw import RawData

START = 1_700_000_000
PERIOD = 30 * 86_400
"""The log begins at START (Unix seconds) and lasts PERIOD seconds."""

_BLOCK_CELLS = 200_000
"""Utilities computed at once: users of a block times videos shown."""


@dataclass(frozen=True)
class _Videos:
    loadings: list[np.ndarray]  # salience * topics, float32 [items, topics] a modality
    popularity: np.ndarray  # float32 [items]
    published: np.ndarray  # seconds after START, float64 [items]


def make_world(config: WorldConfig) -> RawData:
    """Makes a world; the same configuration gives the same world.

    Returns:
      Raw data whose `truth` holds user_id and item_id (object), intensities float32 [users, modalities], and
      user_utilities float32 [users, k] and item_utilities float32 [items, k], whose dot products are the utilities;
      the last of the k columns is the video's popularity (1 on the user's side).
    """
    for_videos, for_users, for_clicks, for_times, for_vectors = np.random.default_rng(config.seed).spawn(5)
    videos = _make_videos(config, for_videos)
    intensities, user_side = _make_users(config, for_users)
    item_side = np.concatenate([*videos.loadings, videos.popularity[:, None]], axis=1)
    user, item = _click(config, user_side, item_side, for_clicks)

    item_ids, user_ids = _names("v", config.items), _names("u", config.users)
    frame = pd.DataFrame(
        {
            columns.USER_ID: user_ids[user],
            columns.ITEM_ID: item_ids[item],
            columns.TIMESTAMP: START + _click_times(config, videos.published[item], for_times),
        }
    )
    interactions, counts = check_interactions(frame, "world")
    published = START + np.floor(videos.published).astype(np.int64)
    catalogue_frame = pd.DataFrame({columns.ITEM_ID: item_ids, columns.PUBLISH_TIME: published})
    catalogue = check_catalogue(catalogue_frame, _encode(config, videos.loadings, for_vectors), "world")
    truth = {
        columns.USER_ID: user_ids,
        columns.ITEM_ID: item_ids,
        "intensities": intensities,
        "user_utilities": user_side,
        "item_utilities": item_side,
    }
    return RawData(interactions, catalogue, counts, truth)


def _names(prefix: str, count: int) -> np.ndarray:
    return np.char.add(prefix, np.char.zfill(np.arange(count).astype(str), len(str(count - 1)))).astype(object)


def _make_videos(config: WorldConfig, random: np.random.Generator) -> _Videos:
    modalities = len(config.modalities)
    salience = modalities * random.dirichlet(np.full(modalities, config.salience_spread), config.items)
    topics = [random.dirichlet(np.full(config.topics, config.topic_spread), config.items) for _ in config.modalities]
    loadings = [(salience[:, [m]] * part).astype(np.float32) for m, part in enumerate(topics)]
    published = random.uniform(-0.5, 0.9, config.items) * PERIOD
    popularity = random.normal(0, config.popularity, config.items) + log_share_of_life(config, published)
    return _Videos(loadings, (popularity - popularity.mean()).astype(np.float32), published)


def log_share_of_life(config: WorldConfig, published: np.ndarray) -> np.ndarray:
    """Logarithm of the share of a video's interest, fading from its publishing on, that falls into the log's period.

    Args:
      config: of the world.
      published: seconds after START, float [items].

    Returns:
      float64 [items], a part of the popularity of `make_world`'s truth; the rest of it does not depend on time.
    """
    life = config.life * PERIOD
    return np.log(np.exp(-np.maximum(-published, 0) / life) - np.exp(-(PERIOD - published) / life))


def _make_users(config: WorldConfig, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    modalities = len(config.modalities)
    intensities = random.dirichlet(np.full(modalities, config.intensity_spread), config.users).astype(np.float32)
    tastes = [random.dirichlet(np.full(config.topics, config.taste_spread), config.users) for _ in config.modalities]
    weighted = [config.scale * intensities[:, [m]] * part for m, part in enumerate(tastes)]
    return intensities, np.concatenate([*weighted, np.ones((config.users, 1))], axis=1).astype(np.float32)


def _click(
    config: WorldConfig, user_side: np.ndarray, item_side: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of all clicks, int [clicks]: for each user the top of utility + Gumbel noise.

    Nobody clicks more than half of what she is shown, so a small world may have fewer clicks than were asked for.
    """
    shown = min(config.items, config.shown)
    wanted = np.minimum(_clicks_of_users(config, random), shown // 2)
    block = max(1, _BLOCK_CELLS // shown)
    # Reused, because fresh memory for each block costs more than the gathering itself.
    sides = np.empty((block, shown, item_side.shape[1]), np.float32) if shown < config.items else None
    items = []
    for start in range(0, config.users, block):
        some = slice(start, start + block)
        if sides is None:
            videos = None
            keys = user_side[some] @ item_side.T
        else:
            videos = _draw_shown(config.items, shown, len(wanted[some]), random)
            np.take(item_side, videos, axis=0, out=sides[: len(videos)], mode="clip")
            keys = (sides[: len(videos)] @ user_side[some, :, None])[..., 0]
        # The generator's steps are about 2^-23 wide, and its zeros would be clicked whatever their utility.
        keys -= np.log(np.maximum(random.standard_exponential(keys.shape, dtype=np.float32), 2.0**-24))
        items.append(_top(keys, wanted[some], videos))
    return np.repeat(np.arange(config.users), wanted), np.concatenate(items)


def _top(keys: np.ndarray, wanted: np.ndarray, videos: np.ndarray | None) -> np.ndarray:
    """The `wanted[u]` videos with the largest keys of each row u, one row after the other; columns name `videos`."""
    most = wanted.max()
    top = np.argpartition(keys, -most, axis=1)[:, -most:]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
    top = np.take_along_axis(top, order, axis=1)
    if videos is not None:
        top = np.take_along_axis(videos, top, axis=1)
    return top[np.arange(most) < wanted[:, None]]


def _draw_shown(items: int, shown: int, users: int, random: np.random.Generator) -> np.ndarray:
    """Distinct videos for each user, int64 [users, shown]: one from each arc of a circle of all, turned at random."""
    borders = np.arange(shown + 1) * items // shown
    within = (random.random((users, shown)) * np.diff(borders)).astype(np.int64)
    return (borders[:-1] + within + random.integers(0, items, (users, 1))) % items


def _clicks_of_users(config: WorldConfig, random: np.random.Generator) -> np.ndarray:
    """Clicks of each user, int64 [users]: one at least, log-normal beyond, `clicks` in total."""
    weights = np.cumsum(random.lognormal(0, config.activity, config.users))
    beyond = np.floor(weights / weights[-1] * (config.clicks - config.users) + 1e-9).astype(np.int64)
    return 1 + np.diff(beyond, prepend=0)


def _click_times(config: WorldConfig, published: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Whole seconds after START, int64: exponential after publishing, within the log's period."""
    life = config.life * PERIOD
    first, last = np.exp(-np.maximum(-published, 0) / life), np.exp(-(PERIOD - published) / life)
    after = -life * np.log(first - random.random(len(published)) * (first - last))
    return np.floor(published + after).astype(np.int64)


def _encode(config: WorldConfig, loadings: list[np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Encoder vectors, modality -> float32 [items, width]; NaN for the missing ones."""
    content = {}
    for (name, width), signal in zip(config.modalities.items(), loadings, strict=True):
        vectors = (signal @ random.normal(size=(config.topics, width))).astype(np.float32)
        size = vectors.std()
        nuisance = config.nuisance * random.normal(size=(config.items, (width + 1) // 2))
        vectors += size * (nuisance @ random.normal(size=(nuisance.shape[1], width)) / np.sqrt(nuisance.shape[1]))
        vectors += size * config.noise * random.normal(size=vectors.shape)
        vectors = random.lognormal(0, 1) * (vectors + size * random.normal(size=width))
        vectors[random.random(config.items) < config.missing] = np.nan
        content[name] = vectors.astype(np.float32)
    return content
