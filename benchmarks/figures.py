"""What every benchmark measures and how it is reported: medians over rounds in turn, ratios, a table, and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
      name: what was measured, e.g. "full ranking, 1,000,000 items".
      unit: of `values`, e.g. "users/s", "ms a step", "GiB".
      values: one a round; the median is what tables show.
      compared_with: name of the figure that it is compared with.
      ratios: this one over that one, one a round of the same run; the median is what tables show.
      setting: sizes and settings that the number depends on.
    """

    name: str
    unit: str
    values: list[float]
    compared_with: str | None = None
    ratios: list[float] = field(default_factory=list)
    setting: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)


def in_turn(
    rounds: int, clock: Callable[[], float] = time.perf_counter, **work: Callable[[], Any]
) -> dict[str, list[float]]:
    """Seconds of each piece of work in every round, the pieces taking turns; a first round of all is not counted.

    Args:
      rounds: that count.
      clock: seconds of the wall, or with `time.process_time` of the processor, which other programs hardly change.
      work: name -> the piece.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, do in work.items():
            started = clock()
            do()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def compared(
    amount: float, unit: str, seconds: Mapping[str, list[float]], compared_with: str, setting: Mapping[str, Any]
) -> list[Figure]:
    """Figures of `amount` things done in the `seconds` of `in_turn`, with ratios to the piece `compared_with`."""
    rates = {name: [amount / took for took in of_piece] for name, of_piece in seconds.items()}
    return [
        Figure(
            name,
            unit,
            values,
            None if name == compared_with else compared_with,
            []
            if name == compared_with
            else [mine / its for mine, its in zip(values, rates[compared_with], strict=True)],
            dict(setting),
        )
        for name, values in rates.items()
    ]


def peak_gib() -> float:
    """Largest resident memory of this process so far, in GiB."""
    # Not getrusage, whose figure a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def resident_gib() -> float:
    """Resident memory of this process now, in GiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def report(title: str, figures: list[Figure], json_path: Path | None = None) -> None:
    """Prints a table, and writes {"title", "machine", "figures"} to `json_path` if there is one."""
    Console(width=120).print(table(title, figures))
    if json_path is not None:
        tree = {"title": title, "machine": machine(), "figures": [asdict(figure) for figure in figures]}
        json_path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def table(title: str, figures: list[Figure]) -> Table:
    """A table of figures: median, range over the rounds, and median ratio."""
    shown = Table("what", "median", "unit", "range", "ratio", "to", title=title, title_justify="left")
    for figure in figures:
        low, high = min(figure.values), max(figure.values)
        shown.add_row(
            figure.name,
            number(figure.median),
            figure.unit,
            f"{number(low)} to {number(high)}" if len(figure.values) > 1 else "",
            f"{statistics.median(figure.ratios):.2f}" if figure.ratios else "",
            figure.compared_with or "",
        )
    return shown


def number(value: float) -> str:
    """Four digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {"processor": models[0] if models else platform.machine(), "cores": os.cpu_count()}
