"""The experiment types that the API knows: the one place from which the schema's enum, its words and its rules follow.

What a type does stands in ``millrace_operators.experiment.types``, one object each. Here is only what a user can write:
the name, one sentence for ``kubectl explain``, and what a spec of the type must hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from millrace_core.api.base import Rule


@dataclass(frozen=True)
class TypeSchema:
    """What the API says of one type.

    Attributes:
        name: value of ``spec.type``.
        behaviour: what it does, as the end of a sentence that begins with its name.
        rules: CEL rules for the spec of an experiment of this type.
    """

    name: str
    behaviour: str
    rules: tuple[Rule, ...] = ()


EXPERIMENT_TYPES: Final = (
    TypeSchema(
        "ABTest",
        "holds its weights, or those of its last step, until its primary metric decides or a command ends it",
        (
            Rule(
                "has(self.steps) || self.arms.all(a, a.control || has(a.weight))",
                "each challenger of an ABTest without steps needs a weight",
            ),
            Rule(
                "!has(self.metrics) || self.metrics.all(m, m.role != 'primary' || has(m.mde))",
                "the primary metric of an ABTest needs mde and baseline, from which its size is planned",
            ),
        ),
    ),
    TypeSchema(
        "Canary",
        "walks its steps and promotes at the end",
        (
            Rule(
                "self.arms.size() == 2 && self.arms.all(a, !has(a.weight))",
                "a Canary has one control and one challenger, without weights: its weights come from spec.steps",
            ),
            Rule(
                "!has(self.metrics) || self.metrics.all(m, m.role != 'primary')",
                "a Canary is ended by its guardrails and its steps; a primary metric decides an ABTest",
            ),
        ),
    ),
    TypeSchema(
        "BlueGreen",
        "previews its challenger behind <service>-preview, flips all traffic to it at once, and promotes it unless "
        "something takes it back while the control is kept",
        (
            Rule(
                "self.arms.size() == 2 && self.arms.all(a, !has(a.weight)) && !has(self.steps)",
                "a BlueGreen has one control and one challenger, without weights and steps: all traffic flips at once, "
                "when spec.blueGreen says",
            ),
            Rule(
                "!has(self.metrics) || self.metrics.all(m, m.role != 'primary')",
                "a BlueGreen is ended by its guardrails and its times; a primary metric decides an ABTest",
            ),
        ),
    ),
    TypeSchema(
        "Shadow",
        "copies a part of the requests to its challenger, whose answers nobody gets, step by step, and ends; it "
        "promotes by a command alone",
        (
            Rule(
                "self.arms.size() == 2 && self.arms.all(a, !has(a.weight)) && !has(self.overrides)",
                "a Shadow has one control and one challenger, without weights and overrides: the control answers "
                "everything, and spec.steps say how much of it is copied",
            ),
            Rule(
                "!has(self.metrics) || self.metrics.all(m, !has(m.source.outcome))",
                "nobody gets the answers of a Shadow, so it has no primary metric and no outcomes: its metrics are "
                "queries of Prometheus, and comparisons",
            ),
        ),
    ),
    TypeSchema(
        "Bandit",
        "gives each arm traffic by its chance of being the best one by the primary metric, again and again, and "
        "promotes an arm that is almost surely the best",
        (
            Rule(
                "self.arms.all(a, !has(a.weight)) && !has(self.steps)",
                "a Bandit has no weights and no steps: its arms begin alike, and what units do says how it goes on",
            ),
            Rule(
                "has(self.metrics) && self.metrics.exists(m, m.role == 'primary')",
                "a Bandit needs a primary metric, by which its arms get their traffic",
            ),
            Rule(
                "!has(self.metrics) || self.metrics.all(m, !has(m.mde))",
                "no size is planned for a Bandit, so its primary metric has no mde, baseline and variance",
            ),
            Rule(
                "!has(self.analysis) || self.analysis.method == 'sequential'",
                "spec.analysis.method is of an ABTest; a Bandit is not tested, but weighed",
            ),
            Rule(
                "!has(self.bandit) || double(self.arms.size()) * self.bandit.floor <= 1.0",
                "spec.bandit.floor for each of spec.arms is more than all traffic; give at most 1 divided by their "
                "number",
            ),
        ),
    ),
)

NAMES: Final = tuple(schema.name for schema in EXPERIMENT_TYPES)


def description() -> str:
    """What ``spec.type`` says of itself."""
    return "; ".join(f"{schema.name} {schema.behaviour}" for schema in EXPERIMENT_TYPES) + "."


def rules() -> Iterator[Rule]:
    """The rules of all types, each for a spec of its own type only."""
    for schema in EXPERIMENT_TYPES:
        for rule in schema.rules:
            yield Rule(f"self.type != '{schema.name}' || ({rule.rule})", rule.message)
