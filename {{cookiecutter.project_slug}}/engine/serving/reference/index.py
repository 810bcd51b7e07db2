"""How far a distribution is from its reference: the population stability index and its limit.

Sources: N. Siddiqi, "Credit Risk Scorecards", 2006: an index above 0.25 is a major shift, 0.1 to
0.25 a minor one. B. Yurdakul and J. Naranjo, "Statistical properties of the population stability
index", Journal of Risk Model Validation 14(4), 2020: without a shift the index is distributed as
``chi²(bins - 1) * (1/n + 1/m)`` for n and m rows, so that few rows give a large index by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from engine.serving.reference.counting import Counts
from engine.serving.reference.document import Column

MAJOR = 0.25
# Of a column that has not shifted, the share of looks that call it shifted by chance.
FALSE_ALARMS = 1e-6
# Added to each count: an empty bin would make the index infinite.
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one column is from its reference.

    Args:
        index: population stability index; 0 where nothing was counted.
        limit: the index above which it is a shift and neither small nor chance.
        missing: share of rows without a value, in [0, 1].
        unseen: share of values that training has not seen: other categories, or numbers outside
            its range, in [0, 1].
        rows: that were counted.
    """

    index: float
    limit: float
    missing: float
    unseen: float
    rows: int

    @property
    def shifted(self) -> bool:
        """Whether it is a shift."""
        return self.index > self.limit


def shift(column: Column, counts: Counts) -> Shift:
    """Compare counts with the reference.

    Args:
        counts: of shape [column.size].
    """
    bins = len(column.counts)
    beside = 0.0 if column.edges else counts[bins + 1]
    now = np.array([*counts[: bins + 1], beside])
    # What has no bin is in the first or last one, if it is a number.
    then = np.array([*column.counts, column.missing, column.other], dtype=np.float64)
    rows = now.sum()
    if not rows:
        return Shift(0.0, MAJOR, 0.0, 0.0, 0)
    used = (now > 0) | (then > 0)
    now, then = now[used] + HALF, then[used] + HALF
    n, m = now.sum(), then.sum()
    index = float(((now / n - then / m) * np.log((now / n) / (then / m))).sum())
    chance = chi_square(max(1, len(now) - 1), 1 - FALSE_ALARMS) * (1 / n + 1 / m)
    values = max(1.0, rows - counts[bins])
    return Shift(
        index,
        max(MAJOR, float(chance)),
        float(counts[bins] / rows),
        float(counts[bins + 1] / values),
        int(rows),
    )


def chi_square(degrees: int, share: float) -> float:
    """The quantile of the chi-square distribution.

    Source: E. Wilson and M. Hilferty, "The distribution of chi-square", 1931; far out and of few
    degrees it is up to a tenth too large.
    """
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + NormalDist().inv_cdf(share) * part**0.5) ** 3)


def split(columns: tuple[Column, ...], counts: Counts) -> list[Counts]:
    """The counts of each column."""
    ends = np.cumsum([column.size for column in columns])
    return [np.asarray(part) for part in np.split(counts, ends[:-1])]
