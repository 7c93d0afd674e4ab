"""What ids and content are worth beside each other, by clicks that neither has seen: stacking (Wolpert 1992).

Factors of items and maps of content fit the clicks that they were estimated from better than any other click, factors
the more so. So some items are left out with all their clicks, and some clicks of the others; factors and maps are
estimated from what remains; and of what was left out a conditional logit (McFadden 1974) says by what weights the
scores make a click likely among a few other items. Clicks on items that were left out say it of new items, whose ids
are predicted from content; the other clicks that were left out say it of items with clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack

from m3csr_tf.config import InitialConfig

DEFAULTS = InitialConfig()
_ALIKE = 1e-5
"""Scores that differ by less than this share of the largest differ by rounding alone."""
_TOLD = 0.01
"""Where fewer of the choices have scores that differ, those few say nothing of what the scores are worth."""


class Scored(NamedTuple):
    """One kind of score: of a history and an item, the mean over the history of `histories`, times `candidates`.

    Attributes:
      histories, candidates: float32 [items, width]; an item whose row of `histories` is all zeros is in no mean.
    """

    histories: np.ndarray
    candidates: np.ndarray


class ClosedForms(NamedTuple):
    """Scores by what some clicks say.

    Attributes:
      content: modality -> content mapped by those clicks.
      ids: by factors of the items; None where ids do not start from any.
      new_ids: by factors on the side of histories and predicted ones on that of candidates; None without such.
    """

    content: Mapping[str, Scored]
    ids: Scored | None
    new_ids: Scored | None


class Weights(NamedTuple):
    """By what to multiply scores, all of them above 0, so that their sum is the logit of a click.

    Attributes:
      content: modality -> weight, of new items.
      new_ids: of new items.
      ids: of items with clicks.
      beside_ids: of items with clicks, by what to multiply the weights of content as well.
    """

    content: dict[str, float]
    new_ids: float
    ids: float
    beside_ids: float


@dataclass(frozen=True)
class LeftOut:
    """Clicks on items that were left out, each beside others that are as popular: popularity tells nothing of them.

    Attributes:
      histories: what remains of their users' clicks, [n, items].
      similarities: weighted scores of content float32 [modalities, n, candidates], the click first.
    """

    histories: csr_matrix
    similarities: np.ndarray

    def __len__(self) -> int:
        """Number of clicks."""
        return self.similarities.shape[1]


class Stacked(NamedTuple):
    """What clicks that were left out say."""

    weights: Weights
    left_out: LeftOut


def stacked(
    clicks: csr_matrix,
    estimate: Callable[[csr_matrix], ClosedForms],
    power: float,
    seed: int,
    settings: InitialConfig = DEFAULTS,
) -> Stacked:
    """The weights of scores, by clicks that were left out, and clicks that tell more.

    Args:
      clicks: binary [users, items] training clicks.
      estimate: the scores by some of them; of the same modalities, and with or without ids, every time.
      power: scores of a history of n clicks count n^power times (training.history_power).
      seed: of what is left out, and of the draws.
      settings: what the folds leave out, how many choices they ask for, and the penalty of the weights.

    Returns:
      Weights of 1, and no clicks, where nothing can be left out: there are fewer than four items, or nobody has another
      click.
    """
    random = np.random.default_rng(seed)
    told = [_Told.of(fold, estimate(fold.known), power, random) for fold in _folds(clicks, random, settings)]
    if not told:
        return Stacked(Weights({}, 1.0, 1.0, 1.0), LeftOut(csr_matrix((0, clicks.shape[1])), np.zeros((0, 0, 0))))
    names = told[0].names
    of_new = conditional_logit(np.concatenate([one.new for one in told]), settings)
    of_content = of_new[: len(names)]
    # Of items with clicks ids count, if there are any, and content as it counts for new ones.
    clicked = np.concatenate([one.clicked for one in told])
    ids, content = np.split(clicked, [clicked.shape[2] - len(names)], axis=2)
    of_clicked = conditional_logit(np.concatenate([ids, (content @ of_content)[..., None]], axis=2), settings)
    weights = Weights(
        content=dict(zip(names, of_content.tolist(), strict=True)),
        new_ids=float(of_new[len(names)]) if len(of_new) > len(names) else 1.0,
        ids=float(of_clicked[0]) if len(of_clicked) > 1 else 1.0,
        beside_ids=float(of_clicked[-1]),
    )
    similarities = np.concatenate([one.popular for one in told]) * of_content
    histories = vstack([one.histories for one in told], format="csr")
    return Stacked(weights, LeftOut(histories, np.moveaxis(similarities, 2, 0).astype(np.float32)))


class _Told(NamedTuple):
    """Scores of the clicks that a fold leaves out, and of others beside each, float [n, candidates, kinds of scores].

    Attributes:
      names: modalities.
      new: of clicks on new items; of each modality, and of predicted ids if there are any.
      clicked: of clicks on others; of ids, if there are any, and of each modality.
      popular: of clicks on new items beside such as are as popular; of each modality.
      histories: of the users of `popular`, [n, items].
    """

    names: tuple[str, ...]
    new: np.ndarray
    clicked: np.ndarray
    popular: np.ndarray
    histories: csr_matrix

    @classmethod
    def of(cls, fold: _Fold, forms: ClosedForms, power: float, random: np.random.Generator) -> _Told:
        content = list(forms.content.values())
        new, clicked = fold.choices(random, on_new=True), fold.choices(random, on_new=False)
        popular = fold.choices(random, on_new=True, popular=True)
        return cls(
            names=tuple(forms.content),
            new=fold.scores(new, [*content, *filter(None, [forms.new_ids])], power),
            clicked=fold.scores(clicked, [*filter(None, [forms.ids]), *content], power),
            popular=fold.scores(popular, content, power),
            histories=fold.known[popular.users],
        )


def means(lines: csr_matrix, vectors: np.ndarray) -> np.ndarray:
    """Means of the items' vectors over each line that has some, float32 [n, width].

    Args:
      lines: of 1s, [n, items].
      vectors: float32 [items, width]; a row of zeros is in no mean.
    """
    counted = np.maximum(lines @ (vectors != 0).any(axis=1).astype(np.float32), 1)
    return np.asarray(lines @ vectors / counted[:, None], np.float32)


def conditional_logit(scores: np.ndarray, settings: InitialConfig = DEFAULTS) -> np.ndarray:
    """Weights w that make the first of some candidates likely, whose chance is softmax over candidates of scores @ w.

    Args:
      scores: float [n, candidates, kinds of scores].
      settings: its logit_ridge and logit_least.

    Returns:
      float64 [kinds]. All are positive, at least logit_least over the spread of their scores; 1 for scores that are
      alike in nearly all choices, and without any choice.
    """
    if not len(scores):
        return np.ones(scores.shape[2])
    apart = np.abs(scores[:, :1] - scores[:, 1:])
    told = apart > _ALIKE * np.abs(scores).max(axis=(0, 1))
    spread = np.sqrt((apart**2 * told).sum(axis=(0, 1)) / np.maximum(told.sum(axis=(0, 1)), 1))
    tells = told.any(axis=1).mean(axis=0) >= _TOLD
    scaled = scores[..., tells] / spread[tells]
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
    if tells.any():
        bounds = [(settings.logit_least, None)] * int(tells.sum())
        found = minimize(objective, np.full(len(bounds), 0.1), jac=True, method="L-BFGS-B", bounds=bounds)
        weights[tells] = found.x / spread[tells]
    return weights


class _Choices(NamedTuple):
    """Clicks that were left out, each beside other items: users int [n], items int [n, 1 + others], the click first."""

    users: np.ndarray
    items: np.ndarray


class _Fold(NamedTuple):
    """What a fold leaves out, and what remains.

    Attributes:
      known: the clicks that remain, [users, items].
      new: the items that are left out, bool [items].
      users, items: the clicks that are left out of users with others that remain, int [n] each.
      settings: its fold_choices and fold_others.
    """

    known: csr_matrix
    new: np.ndarray
    users: np.ndarray
    items: np.ndarray
    settings: InitialConfig = DEFAULTS

    def choices(self, random: np.random.Generator, on_new: bool, popular: bool = False) -> _Choices:
        """Clicks on new items, or on others, beside items of the same kind: any, or as often as they are clicked."""
        kind = self.new if on_new else np.diff(self.known.tocsc().indptr) > 0
        of_kind = np.flatnonzero(kind[self.items])
        pool = self.items[of_kind] if popular else np.flatnonzero(kind)
        chosen = random.permutation(of_kind)[: self.settings.fold_choices]
        beside = self.settings.fold_others
        others = random.choice(pool, (len(chosen), beside)) if len(chosen) else np.zeros((0, beside), int)
        return _Choices(self.users[chosen], np.concatenate([self.items[chosen, None], others], axis=1))

    def scores(self, choices: _Choices, scored: Sequence[Scored], power: float) -> np.ndarray:
        """Scores of the candidates by the clicks that remain, float32 [n, candidates, kinds of scores]."""
        theirs = self.known[choices.users]
        sharper = np.diff(theirs.indptr)[:, None].astype(np.float32) ** power
        found = [
            np.einsum("nw,ncw->nc", means(theirs, one.histories), one.candidates[choices.items], optimize=True)
            for one in scored
        ]
        return np.stack([sharper * each for each in found], axis=2) if found else np.zeros((*choices.items.shape, 0))


def _folds(clicks: csr_matrix, random: np.random.Generator, settings: InitialConfig = DEFAULTS) -> Iterator[_Fold]:
    pairs = clicks.tocoo()
    clicked = np.flatnonzero(np.bincount(pairs.col, minlength=clicks.shape[1]))
    order = random.permutation(clicked)
    size = int(settings.fold_items * len(clicked))
    for fold in range(settings.folds if size else 0):
        new = np.zeros(clicks.shape[1], bool)
        new[order[fold * size : (fold + 1) * size]] = True
        left_out = new[pairs.col] | (random.random(pairs.nnz) < settings.fold_clicks)
        kept = ~left_out
        known = csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=clicks.shape)
        asked = left_out & (np.diff(known.indptr) > 0)[pairs.row]
        if kept.any() and asked.any():
            yield _Fold(known, new, pairs.row[asked], pairs.col[asked], settings)
