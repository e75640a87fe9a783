"""What pods ask for and what nodes have, as exact numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache

from millrace_core.base.quantities import quantity
from millrace_kube.resources import Object

Amounts = Mapping[str, Fraction]

_quantity = lru_cache(maxsize=4096)(quantity)


def amounts(quantities: Mapping[str, str | int] | None) -> dict[str, Fraction]:
    """Reads a resource list; cpu in cores, memory in bytes."""
    return {name: _quantity(str(value)) for name, value in (quantities or {}).items()}


def requested(pod: Object) -> dict[str, Fraction]:
    """What a pod needs at once: its containers together, or the largest init container, and one pod slot.

    A limit without a request is a request. Init containers that keep running (``restartPolicy: Always``) add to both.
    """
    spec = pod["spec"]
    sidecars: Counter[str] = Counter()
    largest: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or []:
        needs = _of_container(container)
        if container.get("restartPolicy") == "Always":
            sidecars.update(needs)
            needs = {}
        for name in {*needs, *sidecars}:
            largest[name] = max(largest.get(name, Fraction(0)), needs.get(name, Fraction(0)) + sidecars[name])
    together: Counter[str] = Counter(sidecars)
    for container in spec["containers"]:
        together.update(_of_container(container))
    total = {name: max(Fraction(together[name]), largest.get(name, Fraction(0))) for name in {*together, *largest}}
    for name, value in amounts(spec.get("overhead")).items():
        total[name] = total.get(name, Fraction(0)) + value
    return {**total, "pods": Fraction(1)}


def _of_container(container: Object) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    return {**amounts(resources.get("limits")), **amounts(resources.get("requests"))}


def added(parts: Iterable[Amounts]) -> dict[str, Fraction]:
    """The sum of several amounts."""
    total: dict[str, Fraction] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, Fraction(0)) + value
    return total


def lacking(needs: Amounts, used: Amounts, room: Amounts) -> list[str]:
    """The resources of which there is not enough left, by name."""
    none = Fraction(0)
    return sorted(
        name for name, amount in needs.items() if amount and amount > room.get(name, none) - used.get(name, none)
    )
