"""Logs as warnings, for callers of the API, what the verbs print about lists."""

from __future__ import annotations

import logging

from m3csr_tf.batch.ages import AgeRules
from m3csr_tf.batch.job import JobStatus
from m3csr_tf.batch.summary import distinct_lists, doubts, said_of
from m3csr_tf.batch.users import Users
from m3csr_tf.config import ColdConfig, RetrieveConfig, SimilarConfig
from m3csr_tf.releases.release import Release

logger = logging.getLogger(__name__)


def warn_of_lists(done: JobStatus, released: Release, users: Users, config: RetrieveConfig, cold: ColdConfig) -> None:
    """Warns of what the verb `retrieve` prints: unknown ids, suspicious counts, short lists, and doubtful ages."""
    distinct = distinct_lists(done.folder)
    if done.unknown_ids:
        logger.warning("recommend: %s", said_of(done, distinct))
    for doubt in doubts(done, distinct, released, users, config.part_size):
        logger.warning("recommend: %s", doubt)
    _warn_of_short("recommend", done, config.top_n)
    _warn_of_ages(done, released, AgeRules.of(config, cold))


def warn_of_similar(done: JobStatus, released: Release, config: SimilarConfig, cold: ColdConfig) -> None:
    """Warns of what the verb `similar` prints: items without a list, short lists, and doubtful ages."""
    for count, why in ((done.unknown_ids, "unknown to the release"), (done.empty, f"without {config.by}")):
        if count:
            logger.warning("similar: %s of %s items are %s and have no list", count, done.inputs, why)
    _warn_of_short("similar", done, config.top_n)
    _warn_of_ages(done, released, AgeRules.of(config, cold))


def _warn_of_short(call: str, done: JobStatus, n: int) -> None:
    if done.short:
        said = "%s: %s of %s lists are shorter than %s, since no more items may be listed"
        logger.warning(said, call, done.short, done.inputs, n)


def _warn_of_ages(done: JobStatus, released: Release, rules: AgeRules) -> None:
    for doubt in rules.at(done.now).doubts(released):
        logger.warning("%s: %s", rules.section, doubt)
