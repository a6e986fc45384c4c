"""The settings that would make a run another one than it reads, where StepGRPO is asked for.

Each rule names what is set, what the run would be, and what to do. ``docs/settings.md`` is this table. Which values a
setting may have by itself is in ``verl_stepgrpo.settings``.
"""

from verl_stepgrpo.bridge.checks.rules import rewards, settings, traces, training
from verl_stepgrpo.bridge.checks.rules.rule import Rule

RULES: tuple[Rule, ...] = (*rewards.RULES, *settings.RULES, *traces.RULES, *training.RULES)
"""All of them, in the order of the page."""
