"""The section of a run's page on the latest comparison of versions, all of which is in comparison.json."""

from __future__ import annotations

from collections.abc import Iterator

from m3csr_tf.drift.comparison_file import FIGURES, StoredComparison
from m3csr_tf.reports.document import Block, Link, Number, PageTable, Text

_METRICS = {"recall@20": "Recall@20", "ndcg@20": "NDCG@20"}


def comparison_blocks(found: StoredComparison | None) -> Iterator[Block]:
    """Yields the blocks of the section; there are none without a comparison."""
    if found is None:
        return
    yield Text(
        [
            f"From {found.first} to {found.second} of release {found.release}: both rank all of their items for the "
            f"same {found.users:,} users, and lists of {found.length} are compared (pipelines/release.py compare).",
            *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in found.sentences()),
            *(f"Note: {note}." for note in found.notes),
        ]
    )
    names = [found.first, found.second]
    if found.quality:
        rows: list[list[str | Number | Link]] = [
            [
                _METRICS.get(metric, metric),
                Number.of(test.first),
                Number.of(test.second),
                Number.of(test.difference, interval=(test.low, test.high)),
                Number(test.p_value, f"{test.p_value:.3g}"),
                Number.of(test.users, 0),
            ]
            for metric, test in found.quality.items()
        ]
        yield PageTable(
            "Quality on held-back clicks",
            ["metric", *names, "change", "p", "users"],
            rows,
            "Means over users with test clicks; the change with its 95% interval, from a paired t-test.",
        )
    rows = []
    for figure, (meaning, form) in FIGURES.items():
        both = found.both(figure)
        if both is not None:
            numbers = (*both, both[1] - both[0])
            forms = (form, form, f"+{form}")
            rows.append(
                [meaning, *(Number(value, format(value, one)) for value, one in zip(numbers, forms, strict=True))]
            )
    yield PageTable("What the lists hold", ["figure", *names, "change"], rows)
    if found.intensities:
        yield PageTable(
            "Interest intensities, means over users",
            ["modality", *names, "mean absolute change"],
            [
                [name, *(Number.of(figures[key], 4) for key in ("first", "second", "absolute_difference"))]
                for name, figures in found.intensities.items()
            ],
        )
