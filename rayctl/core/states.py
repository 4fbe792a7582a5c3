"""Transition tables: which state may follow which, and why; questions are answered from the table."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["IllegalTransition", "Transition", "TransitionTable"]

State = TypeVar("State")


@dataclass(frozen=True)
class Transition(Generic[State]):
    """One allowed step, and what makes it happen."""

    source: State
    target: State
    because: str


class IllegalTransition(ValueError):
    """A step that the table does not have. The text says which steps there are."""


class TransitionTable(Generic[State]):
    """All allowed steps between states.

    Args:
        transitions: Each step once.
        initial: Where everything begins.

    Raises:
        ValueError: A step is there twice, or a state can never be reached.
    """

    def __init__(self, transitions: Iterable[Transition[State]], initial: State) -> None:
        self._steps: dict[tuple[State, State], Transition[State]] = {}
        for step in transitions:
            key = (step.source, step.target)
            if key in self._steps:
                raise ValueError(f"the step from {step.source} to {step.target} is there twice")
            self._steps[key] = step
        self.initial = initial
        lost = self.states - self.reachable_from(initial) - {initial}
        if lost:
            raise ValueError(f"these states can never be reached: {sorted(map(str, lost))}")

    @property
    def states(self) -> frozenset[State]:
        """All states."""
        return frozenset(state for key in self._steps for state in key) | {self.initial}

    def targets(self, source: State) -> frozenset[State]:
        """Return the states that may come next."""
        return frozenset(target for start, target in self._steps if start == source)

    def is_terminal(self, state: State) -> bool:
        """Whether nothing can follow."""
        return not self.targets(state)

    def reachable_from(self, source: State) -> frozenset[State]:
        """Return the states that can come later."""
        found: set[State] = set()
        waiting = deque([source])
        while waiting:
            for target in self.targets(waiting.popleft()):
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)

    def check(self, source: State, target: State) -> Transition[State]:
        """Return the step.

        Raises:
            IllegalTransition: There is none.
        """
        step = self._steps.get((source, target))
        if step is None:
            allowed = ", ".join(sorted(str(state) for state in self.targets(source))) or "none: it is final"
            raise IllegalTransition(f"{source} cannot become {target}; what can follow is {allowed}")
        return step

    def paths_to_end(self, source: State) -> bool:
        """Whether a final state can be reached from here."""
        return self.is_terminal(source) or any(self.is_terminal(state) for state in self.reachable_from(source))
