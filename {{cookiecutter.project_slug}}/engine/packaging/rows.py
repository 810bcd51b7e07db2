"""Whether requests may share a run of a model: whether each row of its outputs is the answer to the
row of its inputs, and to no other.

Two things are needed. Something other than samples must say that there is a row for a row: the
graph, or a declaration. And rows must answer alike alone and among others. Samples alone prove
nothing: a detector that finds nothing in noise looks as if its rows were independent.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.serving.package.manifest import Batching
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import Array

# Rows of the batches in which rows are tried, and of those for models that take long.
SIZES = (2, 5, 17)
SIZES_WHEN_SLOW = (2, 3, 5)
SLOW_SECONDS = 0.1
# What rounding may change, relative to the values of an output, by the bytes of a number.
ROUNDING = {2: 1e-2, 4: 1e-3, 8: 1e-6}
# Rows must differ by more than rounding does, or a mix-up would not be seen.
CLEARLY = 10.0
# A tolerance is this much wider than what was measured.
MARGIN = 2.0
SEED = 20
WORDS = ("", " a", " b c", " d e f")

Tensor = Mapping[str, Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
DEPENDENT = "rows depend on each other, so requests never share a run"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether requests share runs, and why; a batch's rounding in each output where they do.

    ``noise`` is the tolerance that it needs, absolute and relative alike.

    ``batching`` is what the manifest says: by the graph, by declaration, or never.
    """

    batched: bool
    reason: str
    batching: Batching = "auto"
    noise: Mapping[str, float] = field(default_factory=dict)

    def entries(self) -> dict[str, Any]:
        """Keys of the manifest."""
        told = {} if self.batching == "auto" else {"batching": self.batching}
        return {"independent_rows": self.batched} | told


@dataclass(frozen=True, slots=True)
class Claim:
    """What speaks for a row of each output for each row of the inputs, apart from samples.

    ``unproven`` is why the graph does not show it, empty where it does; ``asked`` is what the
    person says; ``promised`` is whose word it is otherwise, empty where nobody gives it.
    """

    unproven: str
    asked: Batching = "auto"
    promised: str = ""

    @property
    def declared(self) -> str:
        """Who declares it; empty: nobody."""
        return "--batching declared" if self.asked == "declared" else self.promised


def judge(
    run: Run,
    samples: Mapping[str, Array],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    claim: Claim,
) -> Verdict:
    """Decide whether requests may share a run.

    Args:
        run: computes all outputs.
        samples: rows of each input.
        inputs: as the manifest describes them.
        outputs: as the manifest describes them.
        claim: what speaks for it, apart from samples.
    """
    if claim.asked == "never":
        return Verdict(False, "it was packaged to run each request alone", "never")
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for each in tensors:
            if each["shape"][:1] != [-1]:
                reason = f"{kind} {each['name']!r} has no first dimension that varies"
                return Verdict(False, reason)
    if claim.unproven and not claim.declared:
        return Verdict(
            False,
            f"{claim.unproven}; where each answer depends on its own row only, say so with "
            "--batching declared",
        )
    if claim.unproven and not any(-1 in each["shape"][1:] for each in inputs):
        for each in outputs:
            if -1 in each["shape"][1:]:
                reason = f"the width of output {each['name']!r} may depend on other rows"
                return Verdict(False, reason)
    trial = Trial(run, samples, {each["name"]: each.get("only", {}) for each in inputs})
    with warnings.catch_warnings(action="ignore"):  # made-up values overflow, as they should
        fault = trial.fault()
    if fault:
        return Verdict(False, fault)
    by = f"declared by {claim.declared}" if claim.unproven else "shown by the graph's shapes"
    return Verdict(
        True,
        f"a row for each row is {by}, and different rows are answered alike alone and among others",
        "declared" if claim.unproven else "auto",
        trial.noise,
    )


class Trial:
    """Runs different rows alone and in batches, in other orders, and compares.

    Args:
        run: computes all outputs.
        inputs: samples.
        only: by input and position of a column, the values that the model takes there, if not all.
    """

    def __init__(
        self, run: Run, inputs: Mapping[str, Array], only: Mapping[str, Only] | None = None
    ) -> None:
        self._only = only or {}
        self.noise: dict[str, float] = {}
        self._run = run
        self._inputs = inputs
        self._moved: dict[str, float] = {}
        self._spread: dict[str, float] = {}
        self._empty: set[str] = set()
        self._sizes = SIZES

    def fault(self) -> str:
        """Why rows must not be put together; empty where nothing speaks against it."""
        try:
            self._run(_rows_of(self._inputs, [0]))  # the first run is often longer
            began = time.perf_counter()
            self._run(_rows_of(self._inputs, [0]))
            slow = time.perf_counter() - began > SLOW_SECONDS
        except Exception as error:  # noqa: BLE001 - runtimes and hooks raise their own classes
            return f"one row alone cannot be run: {_reason(error)}"
        if slow:
            self._sizes = SIZES_WHEN_SLOW
        random = np.random.default_rng(SEED)
        most = max(self._sizes)
        for make in (_own, _mixed, _shaken, _extreme):
            if slow and self._all_differ():
                break
            try:
                with np.errstate(all="ignore"):
                    only = {} if make is _own else self._only
                    rows = _different(self._inputs, make, most, random, only)
                if _count(rows) < 2:
                    continue
                fault = self._compare(rows, random, gentle=make is not _extreme)
            except Exception as error:  # noqa: BLE001 - see above
                if make is _own:
                    return f"rows cannot be run in batches: {_reason(error)}"
                continue  # made-up values are not what the model takes
            if fault:
                return fault
        return self._nothing_seen()

    def _all_differ(self) -> bool:
        return bool(self._spread) and not self._nothing_seen()

    def _nothing_seen(self) -> str:
        if not self._spread:
            return "no two different rows can be made of the samples; give others with --samples"
        for name, spread in self._spread.items():
            if spread <= CLEARLY * self._moved[name]:
                how = "empty" if name in self._empty else "the same"
                return (
                    f"output {name!r} is {how} for all rows that were tried, which shows nothing; "
                    "give rows with different answers with --samples"
                )
        return ""

    def _compare(
        self, rows: Mapping[str, Array], random: np.random.Generator, *, gentle: bool
    ) -> str:
        """Compare each row alone with itself in three batches; what differs, or nothing."""
        count = _count(rows)
        alone = [self._run(_rows_of(rows, [row])) for row in range(count)]
        for name in alone[0]:
            values = [each[name] for each in alone]
            if any(value.ndim == 0 or len(value) != 1 for value in values):
                return f"{DEPENDENT}: output {name!r} has {values[0].shape} for one row"
        scales = {name: _scales([each[name] for each in alone], gentle) for name in alone[0]}
        moved, noise = dict.fromkeys(alone[0], 0.0), dict.fromkeys(alone[0], 0.0)
        for size in self._sizes:
            order = np.resize(random.permutation(count), size)
            together = self._run(_rows_of(rows, list(order)))
            for name, value in together.items():
                if value.shape[:1] != (size,):
                    return f"{DEPENDENT}: output {name!r} has {value.shape} for {size} rows"
                for place, row in enumerate(order):
                    own, other = alone[row][name], value[place : place + 1]
                    needed = _needed(own, other)
                    if not _alike(own, other, scales[name]) or (
                        gentle and needed * MARGIN > _most_needed(own, scales[name])
                    ):
                        return f"{DEPENDENT}: output {name!r} is another one in a batch of {size}"
                    moved[name] = max(moved[name], largest_difference(own, other))
                    noise[name] = max(noise[name], needed)
        for name, seen in moved.items():
            if gentle:
                self.noise[name] = max(self.noise.get(name, 0.0), noise[name])
            if gentle or name not in self._moved:
                self._moved[name] = max(self._moved.get(name, 0.0), seen)
            values = [each[name] for each in alone]
            spread = _spread(values)
            if gentle or spread > CLEARLY * seen:
                self._spread[name] = max(self._spread.get(name, 0.0), spread)
            if all(value.size == 0 for value in values):
                self._empty.add(name)
        return ""


def _rows_of(inputs: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(value[rows]) for name, value in inputs.items()}


def _count(inputs: Mapping[str, Array]) -> int:
    return min(len(value) for value in inputs.values())


Make = Callable[[Array, int, np.random.Generator], Array]
Only = Mapping[int, Sequence[Any]]


def _different(
    inputs: Mapping[str, Array],
    make: Make,
    most: int,
    random: np.random.Generator,
    only: Mapping[str, Only],
) -> dict[str, Array]:
    """Rows made of samples, of which no two are equal."""
    own = _count(inputs)
    made = {name: make(value[:own], 2 * most, random) for name, value in inputs.items()}
    for name, columns in only.items():
        for position, values in columns.items():
            place = position if made[name].ndim > 1 else ...
            known = np.array(values, made[name].dtype)
            made[name][..., place] = random.choice(known, len(made[name]))
    found: dict[object, int] = {}
    for row in range(_count(made)):
        key = tuple(_key(value[row : row + 1]) for value in made.values())
        found.setdefault(key, row)
    return _rows_of(made, list(found.values())[:most])


def _key(row: Array) -> object:
    return tuple(row.reshape(-1).tolist()) if row.dtype.kind == "O" else row.tobytes()


def _own(value: Array, _count: int, _random: np.random.Generator) -> Array:
    """The samples themselves."""
    return value


def _mixed(value: Array, count: int, random: np.random.Generator) -> Array:
    """Rows made of elements that one of the samples has at the same place."""
    picked = random.integers(0, len(value), (count, *value.shape[1:]))
    return np.take_along_axis(value, picked, axis=0)


def _shaken(value: Array, count: int, random: np.random.Generator) -> Array:
    """Mixed rows, a little changed; texts and flags are taken from other places."""
    mixed = _mixed(value, count, random)
    kind = value.dtype.kind
    if kind == "f":
        noise = 0.1 * random.standard_normal(mixed.shape)
        return _finite(mixed + noise * (np.abs(mixed) + _scale(value)), mixed)
    if kind == "b":
        return random.integers(0, 2, mixed.shape).astype(value.dtype)
    if kind == "O":
        return random.choice(value.reshape(-1), mixed.shape)
    return _integers(value, mixed.shape, 0, random)


def _extreme(value: Array, count: int, random: np.random.Generator) -> Array:
    """Mixed rows far outside of the samples, so that thresholds are passed that they do not."""
    mixed = _mixed(value, count, random)
    kind = value.dtype.kind
    if kind == "f":
        most = 1 if value.dtype.itemsize == 2 else 3
        factors = 10.0 ** random.uniform(-1, most, mixed.shape)
        factors *= random.choice((-1, 1, 1), mixed.shape)
        return _finite(np.where(mixed == 0, _scale(value), mixed) * factors, mixed)
    if kind == "O":
        words = random.choice(np.array(WORDS, np.object_), mixed.shape)
        return np.asarray(random.choice(value.reshape(-1), mixed.shape) + words)
    if kind == "b":
        return _shaken(value, count, random)
    return _integers(value, mixed.shape, 10, random)


def _finite(made: Array, mixed: Array) -> Array:
    """Made-up values in the datatype of the samples, and the samples where that has no such."""
    cast = made.astype(mixed.dtype)
    return np.where(np.isfinite(cast), cast, mixed)


def _scale(value: Array) -> float:
    finite = np.abs(value[np.isfinite(value)].astype(np.float64))
    return float(finite.mean()) or 1.0 if finite.size else 1.0


def _integers(
    value: Array, shape: tuple[int, ...], beyond: int, random: np.random.Generator
) -> Array:
    bounds = np.iinfo(value.dtype)
    low, high = int(value.min()), int(value.max())
    more = beyond * (high - low + 1) + (low == high)
    low, high = max(low - more, int(bounds.min)), min(high + more, int(bounds.max))
    return random.integers(low, high, shape, value.dtype, endpoint=True)


def _scales(values: Sequence[Array], gentle: bool) -> Array:
    """How large the values of an output are, at each place: pixels must not hide a score.

    Rows far outside of the samples differ too much for that, and the middle of the largest values
    of each row serves for all places; so it does where rows differ in shape.
    """
    if gentle and values[0].dtype.kind == "f" and len({value.shape for value in values}) == 1:
        sizes = np.abs(np.stack(values).astype(np.float64))
        return np.asarray(np.max(sizes, axis=0, where=np.isfinite(sizes), initial=0.0))
    return np.asarray(np.median([_largest(value) for value in values]))


def _largest(value: Array) -> float:
    if value.dtype.kind != "f" or value.size == 0:
        return 0.0
    finite = np.abs(value[np.isfinite(value)].astype(np.float64))
    return float(finite.max()) if finite.size else 0.0


def _spread(values: Sequence[Array]) -> float:
    """How far the rows of an output lie apart; 0 where all are the same, or there is nothing."""
    first = values[0]
    if first.dtype.kind == "f":
        return max(largest_difference(first, value) for value in values)
    return float(any(not np.array_equal(first, value) for value in values))


def _alike(one: Array, other: Array, scales: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    limit = ROUNDING[one.dtype.itemsize]
    slack = limit * (scales if scales.ndim else max(float(scales), _largest(one)))
    return bool(np.isclose(other, one, rtol=limit, atol=slack, equal_nan=True).all())


def _needed(one: Array, other: Array) -> float:
    """The tolerance, absolute and relative alike, under which two arrays of one shape are equal."""
    if one.shape != other.shape or one.dtype.kind != "f":
        return 0.0
    with np.errstate(all="ignore"):
        own = one.astype(np.float64)
        share = np.abs(own - other.astype(np.float64)) / (1 + np.abs(own))
    return float(np.max(share, where=np.isfinite(share), initial=0.0))


def _most_needed(value: Array, scales: Array) -> float:
    """The widest tolerance that is still rounding at the place with the smallest values."""
    if value.dtype.kind != "f":
        return 0.0
    scale = float(np.min(scales, where=scales > 0, initial=np.inf))
    return ROUNDING[value.dtype.itemsize] * (max(scale, 1.0) if np.isfinite(scale) else 1.0)


def largest_difference(one: Array, other: Array) -> float:
    """The largest distance between finite values of two arrays of one shape; 0 if not floats."""
    if one.dtype.kind != "f" or one.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    finite = difference[np.isfinite(difference)]
    return float(finite.max()) if finite.size else 0.0


def _reason(error: Exception) -> str:
    return reason_of(error)
