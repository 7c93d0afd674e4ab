"""The synthetic short-video world: raw data of any size whose true utilities are known, the pipeline's default input.

Every user has an intensity for each modality (how much visuals, words or sound matter to her) and, in each modality, a
distribution of tastes over its topics. Every video has topics in each modality and a salience for each modality, since
some videos live by their pictures and others by their sound. The utility of video i for user u is a dot product,

    utility_ui = scale * sum_m intensity_um * <taste_um, salience_im * topics_im> + popularity_i

and a user clicks the videos with the largest utility + Gumbel noise, which is the same as drawing without replacement
from the softmax of the utilities. In a large catalogue she chooses among `shown` videos that are drawn for her. The
popularity of a video includes the share of its life that falls into the period of the log; interest in a video fades
from its publication on.

A model sees a video through one encoder vector for each modality. It is the salience-weighted topics under a random
linear map, plus strong directions that have nothing to do with taste (half as many as the vector has dimensions),
noise, and an offset and scale of the encoder's own. A ridge regression on content that is fitted for one user alone
cannot tell those directions from the topics, but a model that learns from the clicks of all users can.

View counts are left unknown. Counts that agreed with the clicks would leak validation and test clicks, and would reveal
how popular a strictly cold item becomes.
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
from m3csr_tf.util.progress import ProgressCallback

START = 1_700_000_000
PERIOD = 30 * 86_400
"""The log begins at START (Unix seconds) and lasts for PERIOD (seconds)."""

VIDEOS_OF_AUTHOR = 20
"""Mean number of videos of an author."""

_AUTHORS_STREAM = 1
"""Names the generator of authors beside those that `make_world` spawns, so that authors change no other draw."""

_BLOCK_CELLS = 200_000
"""Number of utilities that are computed at once: the users of a block times the videos shown to each."""


@dataclass(frozen=True)
class _Videos:
    loadings: list[np.ndarray]  # salience * topics of each modality, float32 [items, topics]
    popularity: np.ndarray  # float32 [items]
    published: np.ndarray  # float64 [items], seconds after START


def make_world(config: WorldConfig, on_progress: ProgressCallback | None = None) -> RawData:
    """Generates a world; the same configuration always gives the same world.

    Args:
      config: the configuration of the world.
      on_progress: progress callback, which gets the number of users whose clicks are drawn and of all users.

    Returns:
      Raw data whose `truth` holds user_id and item_id (object), intensities float32 [users, modalities], and
      user_utilities float32 [users, k] and item_utilities float32 [items, k], whose dot products are the utilities. The
      last of the k columns holds the popularity of a video, with 1 on the side of the user.
    """
    for_videos, for_users, for_clicks, for_times, for_vectors = np.random.default_rng(config.seed).spawn(5)
    videos = _make_videos(config, for_videos)
    intensities, user_side = _make_users(config, for_users)
    item_side = np.concatenate([*videos.loadings, videos.popularity[:, None]], axis=1)
    user, item = _click(config, user_side, item_side, for_clicks, on_progress)

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


def authors_of(config: WorldConfig) -> pd.DataFrame:
    """Draws the authors of a world's videos, a few of whom publish many: the m-th has a share proportional to 1/m.

    Returns:
      item_id and author, both object arrays of str, one row for each video in the order of the catalogue.
    """
    random = np.random.default_rng([config.seed, _AUTHORS_STREAM])
    authors = max(1, config.items // VIDEOS_OF_AUTHOR)
    shares = 1 / np.arange(1, authors + 1)
    drawn = random.choice(authors, size=config.items, p=shares / shares.sum())
    return pd.DataFrame(
        {columns.ITEM_ID: _names("v", config.items), columns.AUTHOR: _names("a", authors)[drawn]}, dtype=object
    )


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
    """Returns the logarithm of the share of all interest in a video that falls into the period of the log.

    Interest decays exponentially from the publication of the video on.

    Args:
      config: the configuration of the world.
      published: publication times in seconds after START, float [items].

    Returns:
      float64 [items], a summand of the popularity in `make_world`'s truth; the other summand is independent of time.
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
    config: WorldConfig,
    user_side: np.ndarray,
    item_side: np.ndarray,
    random: np.random.Generator,
    on_progress: ProgressCallback | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns users and items of all clicks, int [clicks] each: a user clicks her largest utilities + Gumbel noise.

    Nobody clicks more than half of what she is shown, so a small world may have fewer clicks than were asked for.
    """
    shown = min(config.items, config.shown)
    wanted = np.minimum(_clicks_of_users(config, random), shown // 2)
    block = max(1, _BLOCK_CELLS // shown)
    # One buffer serves all blocks: allocating memory for each block takes longer than gathering the rows.
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
        # The generator has a resolution of about 2^-23, and a draw of 0 would be clicked whatever its utility.
        keys -= np.log(np.maximum(random.standard_exponential(keys.shape, dtype=np.float32), 2.0**-24))
        items.append(_top(keys, wanted[some], videos))
        if on_progress is not None:
            on_progress(min(start + block, config.users), config.users)
    return np.repeat(np.arange(config.users), wanted), np.concatenate(items)


def _top(keys: np.ndarray, wanted: np.ndarray, videos: np.ndarray | None) -> np.ndarray:
    """Returns the `wanted[u]` videos with the largest keys of each user u, concatenated over the users."""
    most = wanted.max()
    top = np.argpartition(keys, -most, axis=1)[:, -most:]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
    top = np.take_along_axis(top, order, axis=1)
    if videos is not None:
        top = np.take_along_axis(videos, top, axis=1)
    return top[np.arange(most) < wanted[:, None]]


def _draw_shown(items: int, shown: int, users: int, random: np.random.Generator) -> np.ndarray:
    """Draws distinct videos for each user, int64 [users, shown].

    The catalogue is a circle that is turned at random for each user; each of `shown` equal arcs gives one video.
    """
    borders = np.arange(shown + 1) * items // shown
    within = (random.random((users, shown)) * np.diff(borders)).astype(np.int64)
    return (borders[:-1] + within + random.integers(0, items, (users, 1))) % items


def _clicks_of_users(config: WorldConfig, random: np.random.Generator) -> np.ndarray:
    """Returns the number of clicks of each user, int64 [users]: 1 plus a log-normal share, `clicks` in total."""
    weights = np.cumsum(random.lognormal(0, config.activity, config.users))
    beyond = np.floor(weights / weights[-1] * (config.clicks - config.users) + 1e-9).astype(np.int64)
    return 1 + np.diff(beyond, prepend=0)


def _click_times(config: WorldConfig, published: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws click times in whole seconds after START, int64: exponential from publication on, within the period."""
    life = config.life * PERIOD
    first, last = np.exp(-np.maximum(-published, 0) / life), np.exp(-(PERIOD - published) / life)
    after = -life * np.log(first - random.random(len(published)) * (first - last))
    return np.floor(published + after).astype(np.int64)


def _encode(config: WorldConfig, loadings: list[np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns encoder vectors, modality -> float32 [items, width]; a video that lacks the modality has a row of NaN."""
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
