"""What a rule is: settings that together make a run another one than it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verl_stepgrpo.bridge.checks.run import Run

Facts = Callable[[Run], Sequence[str]]


@dataclass(frozen=True)
class Rule:
    """One way to be another run than it reads.

    Attributes:
        when: What is set, for the page.
        why: What the run would be; stands behind the facts in the message.
        remedy: What to do.
        facts: Returns the settings that clash, as they stand on the command line, or what was found in a file; nothing
            where the rule does not hold.
        refused: Whether it ends the command. Else it may be meant, and is warned of.
    """

    when: str
    why: str
    remedy: str
    facts: Facts
    refused: bool = True

    def message(self, run: Run) -> str | None:
        """Return what is to be said of ``run``, None where the rule does not hold."""
        facts = self.facts(run)
        return f"{' and '.join(facts)}: {self.why}. {self.remedy}." if facts else None


def clash(holds: Callable[[Run], bool], *keys: str) -> Facts:
    """Return facts that are these keys with their values, where the condition holds."""
    return lambda run: [run.said(key) for key in keys] if holds(run) else []
