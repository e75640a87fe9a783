"""Experiments as the operator would have written them, and what their sums must be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

METRICS = [
    {"name": "ctr", "role": "primary", "kind": "proportion", "source": {"outcome": "click"}},
    {"name": "revenue", "role": "secondary", "kind": "mean", "source": {"outcome": "amount", "covariate": "before"}},
    {"name": "basket", "role": "secondary", "kind": "ratio", "source": {"outcome": "amount", "denominator": "order"}},
]


def experiment(name: str = "ab", *, weight: int = 50, phase: str = "Running", holdout: int = 0) -> dict[str, Any]:
    """One of two arms, ``champion`` and ``v2``, in its first epoch."""
    room = 10_000 - holdout * 100
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": "rides", "uid": f"uid-of-{name}", "generation": 1},
        "spec": {
            "type": "ABTest",
            "service": "ranker",
            "arms": [
                {"name": "champion", "deployment": "v1", "control": True},
                {"name": "v2", "deployment": "v2", "weight": weight},
            ],
            "assignment": {"header": "x-user-id", "holdout": holdout},
            "overrides": [
                {"header": "x-user-id", "value": "tester", "arm": "v2"},
                {"header": "x-arm", "value": "v2", "arm": "v2"},
            ],
            "metrics": METRICS,
        },
        "status": {
            "phase": phase,
            "weights": {"desired": {"champion": 100 - weight, "v2": weight}},
            "epochs": [
                {"number": 0, "start": "2026-01-01T00:00:00Z", "weights": {"champion": 100 - weight, "v2": weight}}
            ],
            "assignment": {
                "salt": "salt",
                "holdout": holdout,
                "slots": [{"arm": "v2", "start": 0, "size": room}],
            },
        },
    }


def bandit(name: str, *, epoch: int = 0, **weights: int) -> dict[str, Any]:
    """One whose weights are now these; ``champion`` is the control."""
    made = experiment(name)
    made["spec"] |= {
        "type": "Bandit",
        "arms": [{"name": arm, "deployment": arm, "control": arm == "champion"} for arm in weights],
    }
    made["metadata"]["generation"] = epoch + 1
    made["status"] |= {
        "weights": {"desired": weights, "applied": weights},
        "epochs": [{"number": epoch, "start": "2026-01-01T00:00:00Z", "weights": weights}],
        "assignment": {"salt": "salt", "holdout": 0, "slots": []},
    }
    return made


def moment(seconds: float = 0.0) -> str:
    """So many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def outcome(name: str, identity: str, unit: str, metric: str, value: float, time: str = "") -> dict[str, Any]:
    """One outcome, of now."""
    return {
        "experiment": name,
        "unit": unit,
        "metric": metric,
        "value": value,
        "time": time or moment(),
        "id": identity,
    }


def expected(arms: dict[str, str], outcomes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sums of ``METRICS`` in epoch 0, of outcomes after exposure alone; each id counts once."""
    values: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    seen = set()
    for each in outcomes:
        if each["id"] not in seen and each["unit"] in arms:
            seen.add(each["id"])
            values[each["unit"], each["metric"]] += Fraction(each["value"])
    cells: dict[str, dict[str, list[tuple[Fraction, Fraction]]]] = {}
    for metric in METRICS:
        source: Any = metric["source"]
        by_arm: dict[str, list[tuple[Fraction, Fraction]]] = defaultdict(list)
        for unit in {unit for unit, _ in values}:
            x, z = values.get((unit, source["outcome"])), values.get((unit, source.get("denominator", "")))
            if x is None and z is None:
                continue
            x, z = Fraction(float(x or 0)), Fraction(float(z or 0))
            by_arm[arms[unit]].append((Fraction(int(x > 0)) if metric["kind"] == "proportion" else x, z))
        cells[str(metric["name"])] = by_arm
    return {
        name: {
            "0": {
                arm: {
                    "n": len(pairs),
                    "sum": float(sum((x for x, _ in pairs), Fraction())),
                    "sumSquares": float(sum((x * x for x, _ in pairs), Fraction())),
                }
                | (
                    {
                        "sumOther": float(sum((z for _, z in pairs), Fraction())),
                        "sumOtherSquares": float(sum((z * z for _, z in pairs), Fraction())),
                        "sumProducts": float(sum((x * z for x, z in pairs), Fraction())),
                    }
                    if name != "ctr"
                    else {}
                )
                for arm, pairs in by_arm.items()
            }
        }
        if by_arm
        else {}
        for name, by_arm in cells.items()
    }
