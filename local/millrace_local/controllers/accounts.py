"""ServiceAccounts: every namespace has one named ``default``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from millrace_kube.informer import Informers
from millrace_kube.resources import NAMESPACES, SERVICE_ACCOUNTS, Object, deleting
from millrace_local.controllers.actions import ActionPlan, Create

DEFAULT = "default"


class AccountController:
    """Creates the default ServiceAccount of namespaces."""

    name = "accounts"
    workers = 1

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A namespace is planned when it appears and when its default account disappears."""
        self._namespaces = informers.of(NAMESPACES)
        self._accounts = informers.of(SERVICE_ACCOUNTS)

        def of_account(old: Object | None, new: Object | None) -> None:
            if old and new is None and old["metadata"]["name"] == DEFAULT:
                touch(f"/{old['metadata']['namespace']}")

        def of_namespace(old: Object | None, new: Object | None) -> None:
            if new and old is None:
                touch(f"/{new['metadata']['name']}")

        self._namespaces.subscribe(of_namespace)
        self._accounts.subscribe(of_account)

    def plan(self, key: str, now: datetime) -> ActionPlan:  # noqa: ARG002 - time does not matter here
        """Creates the account that a living namespace lacks."""
        namespace = self._namespaces.items.get(key)
        if namespace is None or deleting(namespace):
            return ActionPlan()
        name = namespace["metadata"]["name"]
        if self._accounts.get(name, DEFAULT) is not None:
            return ActionPlan()
        return ActionPlan((Create(SERVICE_ACCOUNTS, {"metadata": {"name": DEFAULT, "namespace": name}}),))
