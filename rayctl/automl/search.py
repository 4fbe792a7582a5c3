"""What a run tries, in which order: grids of the caller's search space, and seeded variations. Pure.

Sequences depend on their arguments only (not on ``PYTHONHASHSEED``, the clock or results), so that a run can
be repeated and a restarted trainer continues where the old one was.
"""

from __future__ import annotations

import itertools
import math
import pickle
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from rayctl.automl.engine import Candidate
from rayctl.automl.model import SearchEntry

__all__ = [
    "Range",
    "Space",
    "candidate_key",
    "count_candidates",
    "derive_seed",
    "distinct",
    "expand_grid",
    "expand_search_space",
    "int_log_uniform",
    "interleave",
    "log_uniform",
    "sample_params",
    "seed_key",
    "uniform",
    "variations",
]

Space = Mapping[str, "Range | Sequence[Any]"]
"""Parameter name → a range of numbers, or a sequence to choose from."""


def derive_seed(run_seed: int, key: str, fold: int) -> int:
    """Return the seed of one fold task: 32 bits, well spread, the same on every machine.

    ``key`` names the configuration (`seed_key`), not the trial's number: the same configuration gives the same result
    wherever it stands in the order, and can be taken over from an earlier run.
    """
    digest = sha256(f"rayctl/seed/{run_seed}/{key}/{fold}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def seed_key(candidate: Candidate) -> str:
    """Return what seeds are derived from: model and parameters, but no pickled code (its bytes vary by process)."""
    plain = {name: value for name, value in candidate.params.items() if _is_plain(value)}
    return candidate_key(Candidate(candidate.model, plain))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def expand_search_space(entries: Sequence[SearchEntry]) -> Iterator[Candidate]:
    """Yield every combination of every entry's grid once, taking turns between the entries.

    Taking turns means that a small ``max_trials`` sees each model. Within an entry the last parameter varies
    fastest. Equal combinations (also across entries) come once. Lazy: grids may be huge.
    """
    return distinct(interleave([expand_grid(entry) for entry in entries]))


def expand_grid(entry: SearchEntry) -> Iterator[Candidate]:
    """Yield one candidate per combination of the entry's parameter values, in order."""
    names = list(entry.params)
    for values in itertools.product(*entry.params.values()):
        yield Candidate(entry.model, dict(zip(names, values, strict=True)), entry.pickled_class)


def count_candidates(entries: Sequence[SearchEntry]) -> int:
    """Return how many combinations the grids have together, duplicates included."""
    return sum(math.prod(len(values) for values in entry.params.values()) for entry in entries)


def interleave(sources: Iterable[Iterator[Candidate]]) -> Iterator[Candidate]:
    """Take one item from each source in turn until all are exhausted."""
    alive = list(sources)
    while alive:
        remaining = []
        for source in alive:
            for candidate in itertools.islice(source, 1):
                yield candidate
                remaining.append(source)
        alive = remaining


def distinct(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Drop candidates that are equal to an earlier one."""
    seen: set[str] = set()
    for candidate in candidates:
        key = candidate_key(candidate)
        if key not in seen:
            seen.add(key)
            yield candidate


def candidate_key(candidate: Candidate) -> str:
    """Return a text that is equal for equal candidates, whatever the order of their parameters (hex sha256)."""
    digest = sha256(candidate.model.encode())
    digest.update(sha256(candidate.pickled_class or b"").digest())
    for name in sorted(candidate.params):
        digest.update(f"\0{name}\0".encode() + _value_key(candidate.params[name]))
    return digest.hexdigest()


def _value_key(value: Any) -> bytes:
    """Identify a parameter value. The type counts: 1, 1.0 and True are different settings to many models."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return f"{type(value).__name__}:{value!r}".encode()
    if isinstance(value, (list, tuple)):
        return type(value).__name__.encode() + b"[" + b",".join(map(_value_key, value)) + b"]"
    if isinstance(value, Mapping):
        items = sorted((_value_key(key), _value_key(item)) for key, item in value.items())
        return b"{" + b",".join(key + b"=" + item for key, item in items) + b"}"
    try:
        return b"pickle:" + sha256(pickle.dumps(value, protocol=4)).digest()
    except (pickle.PicklingError, TypeError, AttributeError):
        return f"object:{id(value)}".encode()  # not comparable: counts as different from all others


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``: even, or with an even logarithm; real (four digits) or whole."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __call__(self, rng: random.Random) -> float | int:
        """Choose one."""
        low, high = self.low, self.high + 1 if self.whole else self.high
        share = rng.random()
        value = math.exp(math.log(low) + math.log(high / low) * share) if self.log else low + (high - low) * share
        return min(int(self.high), int(value)) if self.whole else _round(value)


def uniform(low: float, high: float) -> Range:
    """Numbers evenly from [low, high), rounded to four significant digits (short in leaderboards)."""
    return Range(low, high)


def log_uniform(low: float, high: float) -> Range:
    """Numbers whose logarithm is even on [low, high), rounded to four significant digits."""
    return Range(low, high, log=True)


def int_log_uniform(low: int, high: int) -> Range:
    """Whole numbers from low to high (both included), small ones more often."""
    return Range(low, high, log=True, whole=True)


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def sample_params(space: Space, seed: int, index: int, label: str = "") -> dict[str, Any]:
    """Return the ``index``-th random choice from a space: a function of the arguments alone."""
    digest = sha256(f"rayctl/sample/{label}/{seed}/{index}".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:8], "big"))
    return {
        name: choice(rng) if isinstance(choice, Range) else choice[int(rng.random() * len(choice))]
        for name, choice in space.items()
    }


def variations(model: str, space: Space, seed: int, start: int = 0) -> Iterator[Candidate]:
    """Yield endless random candidates of one model."""
    for index in itertools.count(start):
        yield Candidate(model, sample_params(space, seed, index, model))
