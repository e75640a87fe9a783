"""Access control on demand, for tests: what a client may do by rules of RBAC, what it did, and what it was refused.

Served at ``/faults/access`` by a server started with ``--faults``. ``PUT`` takes ``{"userAgent", "grants"}``: every
request of a client whose User-Agent begins so needs a grant, an RBAC rule (``apiGroups``, ``resources``,
``resourceNames``, ``verbs``) with the ``namespace`` that it holds in, empty for all. ``GET`` tells what such clients
used and what they were denied; ``DELETE`` ends it. An apply that creates needs ``create`` (of this name) as well as
``patch``, as in Kubernetes. As with the admission plugin OwnerReferencesPermissionEnforcement (Kubernetes'
``plugin/pkg/admission/gc/gc_admission.go``), who changes the owner references of an object that is there needs
``delete`` of it, and who adds one that blocks a deletion needs ``update`` of the owner's ``finalizers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from millrace_local.apiserver.errors import StatusError, bad_request, no_such_path
from millrace_local.apiserver.request import Request, RequestTarget, Response, json_response
from millrace_local.apiserver.server import ApiServer

PATH = "/faults/access"
_FIELDS = ("apiGroups", "resources", "resourceNames", "verbs")
_APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, order=True)
class Call:
    """What a request does, as RBAC names it; ``namespace`` is empty across all and of cluster-scoped kinds."""

    group: str
    resource: str
    verb: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Grant:
    """One rule of RBAC, and where it holds."""

    namespace: str
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    verbs: frozenset[str]

    @classmethod
    def of(cls, given: Any) -> Grant:
        """Reads a grant.

        Raises:
            StatusError: 400 for what is none.
        """
        if not isinstance(given, dict) or given.keys() - {*_FIELDS, "namespace"}:
            raise bad_request(f"a grant is an object of {', '.join(_FIELDS)} and namespace, got {given!r}")
        return cls(given.get("namespace", ""), *(frozenset(given.get(field) or ()) for field in _FIELDS))

    def allows(self, call: Call) -> bool:
        """Whether it allows the call. A wildcard is taken at its word."""
        return (
            self.namespace in ("", call.namespace)
            and bool({call.group, "*"} & self.groups)
            and bool({call.resource, "*"} & self.resources)
            and bool({call.verb, "*"} & self.verbs)
            and (not self.names or call.name in self.names)
        )


class AccessControl:
    """The grants in force; at first none, and everything is allowed and nothing recorded."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._clear()

    def _clear(self) -> None:
        self._user_agent = ""
        self._grants: tuple[Grant, ...] = ()
        self._used: set[Call] = set()
        self._denied: set[Call] = set()

    def serve(self, request: Request) -> Response:
        """Serves ``/faults/access``.

        Raises:
            StatusError: 400 for what is no grant, 404 for another method.
        """
        match request.method:
            case "GET":
                pass
            case "PUT":
                self._set(request.body)
            case "DELETE":
                self._clear()
            case _:
                raise no_such_path()
        return json_response({"used": _shown(self._used), "denied": _shown(self._denied)})

    def _set(self, body: bytes) -> None:
        try:
            given = orjson.loads(body)
            user_agent, grants = str(given["userAgent"]), [Grant.of(each) for each in given["grants"]]
        except (orjson.JSONDecodeError, TypeError, KeyError) as error:
            raise bad_request(f"expected an object with userAgent and grants: {error!r}") from None
        self._clear()
        self._user_agent, self._grants = user_agent, tuple(grants)

    def check(self, request: Request, verb: str, target: RequestTarget) -> None:
        """Records a request.

        Raises:
            StatusError: 403 where no grant allows it.
        """
        if not self._user_agent or not request.user_agent.startswith(self._user_agent):
            return
        for call in self._calls(request, verb, target):
            if not any(grant.allows(call) for grant in self._grants):
                self._denied.add(call)
                raise _forbidden(call, request.user_agent)
            self._used.add(call)

    def _calls(self, request: Request, verb: str, target: RequestTarget) -> list[Call]:
        resource = target.resource
        path = resource.plural + (f"/{target.subresource}" if target.subresource else "")
        calls = [Call(resource.group, path, verb, target.namespace, target.name)]
        if verb not in ("create", "patch", "update") or target.subresource:
            return calls
        stored = self._server.store.get(resource.storage, target.namespace, target.name) if target.name else None
        if stored is None and verb == "patch" and request.media_type == _APPLY:
            calls.append(Call(resource.group, path, "create", target.namespace, target.name))
        held = [] if stored is None else stored.object()["metadata"].get("ownerReferences") or []
        stated = _owner_references(request.body)
        if stated is None or stated == held:
            return calls
        if stored is not None:
            calls.append(Call(resource.group, path, "delete", target.namespace, target.name))
        return calls + self._blocked([each for each in stated if each not in held], target.namespace)

    def _blocked(self, added: list[Any], namespace: str) -> list[Call]:
        """The owners whose deletion the object is to hold up from now on."""
        calls = []
        for each in added:
            owner = self._server.registry.of_kind(each["apiVersion"], each["kind"])
            if each.get("blockOwnerDeletion") and owner is not None:
                calls.append(Call(owner.group, f"{owner.plural}/finalizers", "update", namespace, each["name"]))
        return calls


def _owner_references(body: bytes) -> list[Any] | None:
    """The owner references that a body states; None where it states none of them."""
    try:
        return orjson.loads(body)["metadata"]["ownerReferences"] or []
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None


def _shown(calls: set[Call]) -> list[dict[str, str]]:
    return [
        {
            "group": each.group,
            "resource": each.resource,
            "verb": each.verb,
            "namespace": each.namespace,
            "name": each.name,
        }
        for each in sorted(calls)
    ]


def _forbidden(call: Call, user: str) -> StatusError:
    where = f' in the namespace "{call.namespace}"' if call.namespace else " at the cluster scope"
    plural = call.resource.partition("/")[0]
    named = f'{plural}.{call.group} "{call.name}"' if call.group else f'{plural} "{call.name}"'
    return StatusError(
        403,
        "Forbidden",
        f'{named} is forbidden: User "{user}" cannot {call.verb} resource "{call.resource}" in API group '
        f'"{call.group}"{where}',
    )
