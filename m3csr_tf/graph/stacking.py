"""Weights of the scores by ids and by content, estimated from held-out clicks by stacking (Wolpert 1992).

Item factors and maps of content fit the clicks that they were estimated from better than other clicks, and factors more
so than maps. To weigh them fairly, each fold holds out some items with all their clicks, and some clicks on the other
items. Factors and maps are estimated from the remaining clicks. A conditional logit (McFadden 1974) then finds the
weights of the scores by which a held-out click is most likely among a few other items. The clicks on held-out items
give the weights for new items, whose ids are predicted from content, and lists of held-out items correct them for the
top of a list (`graph.held_out_lists`). The other held-out clicks give the weights for items with clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.held_out_lists import HeldOutLists, best_multipliers, sampled_clicks
from m3csr_tf.util.progress import ProgressCallback

DEFAULTS = InitialConfig()
_ALIKE = 1e-5
"""Scores that differ by less than this share of the largest one count as equal, since rounding alone can cause it."""
_LEAST_INFORMATIVE = 0.01
"""Least share of clicks whose candidates differ in a score. With fewer, the score's weight cannot be estimated."""


class ScoreFactors(NamedTuple):
    """One kind of score of an item for a history: the mean of `histories` over the history, times `candidates`.

    Attributes:
      histories: float32 [items, width], vectors of items in a history. An item with a row of zeros is left out of
        means.
      candidates: float32 [items, width], vectors of items as candidates.
    """

    histories: np.ndarray
    candidates: np.ndarray


class ContentScores(NamedTuple):
    """Two kinds of scores by the content of a modality: by content as it is, and by what clicks say of it."""

    content: ScoreFactors
    co_clicks: ScoreFactors


class ScoreEstimates(NamedTuple):
    """The kinds of scores, estimated from some of the clicks.

    Attributes:
      content: modality -> scores by its content.
      ids: scores by item factors; None if ids are not initialised from factors.
      new_ids: scores of new items, with item factors for the history and ids that are predicted from content for the
        candidate; None if ids are not predicted.
    """

    content: Mapping[str, ContentScores]
    ids: ScoreFactors | None
    new_ids: ScoreFactors | None


class ContentWeights(NamedTuple):
    """The weights of the two kinds of scores by the content of a modality, in the order of `ContentScores`."""

    content: float
    co_clicks: float


class Weights(NamedTuple):
    """Weights of the scores, none negative, with which their weighted sum is the logit of a click.

    Attributes:
      content: modality -> weights of content for new items.
      new_ids: weight of predicted ids for new items.
      ids: weight of ids for items with clicks.
      content_scale: factor by which the weights of content are multiplied for items with clicks.
    """

    content: dict[str, ContentWeights]
    new_ids: float
    ids: float
    content_scale: float


@dataclass(frozen=True)
class HeldOutClicks:
    """Held-out clicks on held-out items, each among other candidates of like popularity.

    The popularity of a candidate is therefore no evidence of whether it was clicked.

    Attributes:
      histories: sparse [n, items], the remaining clicks of their users.
      similarities: float32 [modalities, n, candidates], weighted scores of content; the clicked candidate is the first.
    """

    histories: csr_matrix
    similarities: np.ndarray

    def __len__(self) -> int:
        """Returns the number of clicks."""
        return self.similarities.shape[1]


class StackingResult(NamedTuple):
    """The estimates from held-out clicks: weights, and clicks from which more can be estimated."""

    weights: Weights
    held_out: HeldOutClicks


def stacking_weights(
    clicks: csr_matrix,
    estimate: Callable[[csr_matrix], ScoreEstimates],
    power: float,
    seed: int,
    settings: InitialConfig = DEFAULTS,
    on_progress: ProgressCallback | None = None,
) -> StackingResult:
    """Estimates the weights of scores from held-out clicks.

    Args:
      clicks: binary [users, items] training clicks.
      estimate: computes the scores from some of the clicks. It must return the same kinds of scores in every fold.
      power: scores of a history of n clicks are multiplied by n^power (training.history_power).
      seed: seed of the folds, and of the draws of candidates.
      settings: the section model.initial: what the folds hold out, how many clicks and candidates are sampled, and the
        penalty of the weights.
      on_progress: progress callback of what follows the estimates (`best_multipliers`).

    Returns:
      The weights, and held-out clicks. If nothing can be held out, because there are too few items with clicks or no
      user would have another click, all weights are 1 and there are no held-out clicks.
    """
    random = np.random.default_rng(seed)
    fold_scores = [
        _FoldScores.of(fold, estimate(fold.known), power, random) for fold in _folds(clicks, random, settings)
    ]
    if not fold_scores:
        return StackingResult(
            Weights({}, 1.0, 1.0, 1.0), HeldOutClicks(csr_matrix((0, clicks.shape[1])), np.zeros((0, 0, 0)))
        )
    names = fold_scores[0].names
    kinds = 2 * len(names)
    new = np.concatenate([fold.new for fold in fold_scores])
    new_item_weights = conditional_logit(new, settings)
    places = np.arange(len(new_item_weights))
    co_clicks, predicted = (places < kinds) & (places % 2 == 1), places >= kinds
    lists = [fold.lists for fold in fold_scores]
    of_co_clicks, of_ids = best_multipliers(lists, new_item_weights, co_clicks, predicted, settings, on_progress)
    new_item_weights = new_item_weights * np.where(co_clicks, of_co_clicks, 1) * np.where(predicted, of_ids, 1)
    # The multipliers change the size of the scores, on which no list depends but the loss does.
    new_item_weights *= conditional_logit((new @ new_item_weights)[..., None], settings)[0]
    content_weights = new_item_weights[:kinds]
    # Items with clicks are scored by their ids, if there are any, and by the sum of the content scores, which are
    # weighted as for new items.
    clicked = np.concatenate([fold.clicked for fold in fold_scores])
    ids, content = np.split(clicked, [clicked.shape[2] - kinds], axis=2)
    clicked_item_weights = conditional_logit(
        np.concatenate([ids, (content @ content_weights)[..., None]], axis=2), settings
    )
    weights = Weights(
        content={
            name: ContentWeights(*pair)
            for name, pair in zip(names, content_weights.reshape(-1, 2).tolist(), strict=True)
        },
        new_ids=float(new_item_weights[kinds]) if len(new_item_weights) > kinds else 1.0,
        ids=float(clicked_item_weights[0]) if len(clicked_item_weights) > 1 else 1.0,
        content_scale=float(clicked_item_weights[-1]),
    )
    popular = np.concatenate([fold.popular for fold in fold_scores]) * content_weights
    similarities = popular.reshape(*popular.shape[:2], len(names), 2).sum(axis=3)
    histories = vstack([fold.histories for fold in fold_scores], format="csr")
    return StackingResult(weights, HeldOutClicks(histories, np.moveaxis(similarities, 2, 0).astype(np.float32)))


class _FoldScores(NamedTuple):
    """Scores of the clicks that a fold holds out and of their other candidates, float [n, candidates, kinds of scores].

    Attributes:
      names: the modalities. Kinds of scores by content are in their order, two for each (`ContentScores`).
      new: for clicks on new (held-out) items: scores by content, and by predicted ids if there are any.
      clicked: for clicks on other items: scores by ids, if there are any, and by content.
      popular: for clicks on new items among candidates of like popularity: scores by content.
      histories: sparse [n, items], the histories of the users of `popular`.
      lists: scores of lists of new items, of the kinds of `new`.
    """

    names: tuple[str, ...]
    new: np.ndarray
    clicked: np.ndarray
    popular: np.ndarray
    histories: csr_matrix
    lists: HeldOutLists

    @classmethod
    def of(cls, fold: _Fold, forms: ScoreEstimates, power: float, random: np.random.Generator) -> _FoldScores:
        content = [one for pair in forms.content.values() for one in pair]
        of_new = [*content, *filter(None, [forms.new_ids])]
        new, clicked = fold.logit_samples(random, on_new=True), fold.logit_samples(random, on_new=False)
        popular = fold.logit_samples(random, on_new=True, popular=True)
        return cls(
            names=tuple(forms.content),
            new=fold.scores(new, of_new, power),
            clicked=fold.scores(clicked, [*filter(None, [forms.ids]), *content], power),
            popular=fold.scores(popular, content, power),
            histories=fold.known[popular.users],
            lists=fold.lists(of_new, random),
        )


def means(profiles: csr_matrix, vectors: np.ndarray) -> np.ndarray:
    """Computes the means of item vectors over sets of items.

    Args:
      profiles: sparse [n, items] of 1s, a set of items in each row.
      vectors: float32 [items, width]; an item with a row of zeros is left out of means.

    Returns:
      float32 [n, width]; zeros for a set without any such vector.
    """
    counted = np.maximum(profiles @ (vectors != 0).any(axis=1).astype(np.float32), 1)
    return np.asarray(profiles @ vectors / counted[:, None], np.float32)


def conditional_logit(scores: np.ndarray, settings: InitialConfig = DEFAULTS) -> np.ndarray:
    """Fits weights w by maximum likelihood, where softmax over candidates of scores @ w is the probability of a click.

    Args:
      scores: float [n, candidates, kinds of scores]; the clicked candidate is the first.
      settings: the section model.initial, of which logit_ridge and logit_least count.

    Returns:
      float64 [kinds], all positive, and at least logit_least over the spread of their scores. A weight is 1 if its
      score is the same for all candidates of nearly all clicks, or if there is no click.
    """
    if not len(scores):
        return np.ones(scores.shape[2])
    apart = np.abs(scores[:, :1] - scores[:, 1:])
    differing = apart > _ALIKE * np.abs(scores).max(axis=(0, 1))
    spread = np.sqrt((apart**2 * differing).sum(axis=(0, 1)) / np.maximum(differing.sum(axis=(0, 1)), 1))
    informative = differing.any(axis=1).mean(axis=0) >= _LEAST_INFORMATIVE
    scaled = scores[..., informative] / spread[informative]
    ridge = settings.logit_ridge + 1 / max(1, len(scores))

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = scaled @ weights
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        total = chances.sum(axis=1, keepdims=True)
        chances /= total
        loss = (np.log(total[:, 0]) - logits[:, 0]).mean() + ridge * weights @ weights
        chances[:, 0] -= 1
        slopes = np.einsum("nc,nck->k", chances, scaled) / len(scaled)
        return float(loss), slopes + 2 * ridge * weights

    weights = np.ones(len(spread))
    if informative.any():
        bounds = [(settings.logit_least, None)] * int(informative.sum())
        found = minimize(objective, np.full(len(bounds), 0.1), jac=True, method="L-BFGS-B", bounds=bounds)
        weights[informative] = found.x / spread[informative]
    return weights


class _LogitSamples(NamedTuple):
    """Held-out clicks, each with other candidates.

    Attributes:
      users: int [n].
      items: int [n, 1 + others]; the clicked item is the first.
    """

    users: np.ndarray
    items: np.ndarray


class _Fold(NamedTuple):
    """The clicks that a fold holds out, and those that remain.

    Attributes:
      known: sparse [users, items], the remaining clicks.
      new: bool [items], the held-out items.
      users, items: int [n] each, the held-out clicks of users who have remaining clicks.
      settings: the section model.initial, of which fold_samples and fold_others count.
    """

    known: csr_matrix
    new: np.ndarray
    users: np.ndarray
    items: np.ndarray
    settings: InitialConfig = DEFAULTS

    def logit_samples(self, random: np.random.Generator, on_new: bool, popular: bool = False) -> _LogitSamples:
        """Samples held-out clicks, and other candidates for each.

        Args:
          random: the random generator, which the draws advance.
          on_new: whether the clicks, and the candidates, are on new items or on items with remaining clicks.
          popular: whether candidates are drawn in proportion to their held-out clicks, and not uniformly.
        """
        kind = self.new if on_new else np.diff(self.known.tocsc().indptr) > 0
        of_kind = np.flatnonzero(kind[self.items])
        pool = self.items[of_kind] if popular else np.flatnonzero(kind)
        chosen = random.permutation(of_kind)[: self.settings.fold_samples]
        alternatives = self.settings.fold_others
        others = random.choice(pool, (len(chosen), alternatives)) if len(chosen) else np.zeros((0, alternatives), int)
        return _LogitSamples(self.users[chosen], np.concatenate([self.items[chosen, None], others], axis=1))

    def scores(self, samples: _LogitSamples, scored: Sequence[ScoreFactors], power: float) -> np.ndarray:
        """Computes the scores of candidates from the remaining clicks, float32 [n, candidates, kinds of scores]."""
        theirs = self.known[samples.users]
        sharper = np.diff(theirs.indptr)[:, None].astype(np.float32) ** power
        found = [
            np.einsum("nw,ncw->nc", means(theirs, one.histories), one.candidates[samples.items], optimize=True)
            for one in scored
        ]
        return np.stack([sharper * each for each in found], axis=2) if found else np.zeros((*samples.items.shape, 0))

    def lists(self, scored: Sequence[ScoreFactors], random: np.random.Generator) -> HeldOutLists:
        """Computes the scores of new items for users with held-out clicks on them, from the remaining clicks."""
        users, items, truth = sampled_clicks(self.users, self.items, self.new, self.known.shape[0], random)
        found = [means(self.known[users], one.histories) @ one.candidates[items].T for one in scored]
        return HeldOutLists(truth, np.stack(found).astype(np.float32) if found else np.zeros((0, *truth.shape)))


def _folds(clicks: csr_matrix, random: np.random.Generator, settings: InitialConfig = DEFAULTS) -> Iterator[_Fold]:
    """Yields the folds, except those without a held-out click of a user who has remaining clicks."""
    pairs = clicks.tocoo()
    clicked = np.flatnonzero(np.bincount(pairs.col, minlength=clicks.shape[1]))
    order = random.permutation(clicked)
    size = int(settings.fold_items * len(clicked))
    for fold in range(settings.folds if size else 0):
        new = np.zeros(clicks.shape[1], bool)
        new[order[fold * size : (fold + 1) * size]] = True
        held_out = new[pairs.col] | (random.random(pairs.nnz) < settings.fold_clicks)
        kept = ~held_out
        known = csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=clicks.shape)
        asked = held_out & (np.diff(known.indptr) > 0)[pairs.row]
        if kept.any() and asked.any():
            yield _Fold(known, new, pairs.row[asked], pairs.col[asked], settings)
