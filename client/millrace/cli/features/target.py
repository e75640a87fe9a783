"""Where the commands find feature views, the store and the gateway: the options that all of them take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from millrace.cli.options import TokenFile
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.lazy_import import lazy_import

if TYPE_CHECKING:
    import millrace as sdk
    from millrace import FeatureStore
else:
    sdk = lazy_import("millrace")

_HERE = Path()


@dataclass(frozen=True)
class Target:
    """The options. Of several places for definitions the first of files, registry and cluster is taken."""

    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--files", "-f", help="YAML file or folder of feature views; may be repeated.", show_default=False
        ),
    ] = None
    registry: Annotated[
        str | None, typer.Option(help="URL of the registry.", envvar="MILLRACE_REGISTRY_URL", show_default=False)
    ] = None
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Kubeconfig of a cluster.", envvar="KUBECONFIG", show_default=False)
    ] = None
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace (project) of the views.")] = "default"
    gateway: Annotated[
        str | None, typer.Option(help="URL of the gateway.", envvar="MILLRACE_GATEWAY_URL", show_default=False)
    ] = None
    online: Annotated[
        str | None,
        typer.Option(
            help="Online store: redis://…, or `embedded` for one of your own in .millrace.",
            envvar="MILLRACE_STORE_URL",
            show_default=False,
        ),
    ] = None
    token_file: TokenFile = None

    @property
    def commands_cluster(self) -> bool:
        """Whether a cluster alone is named, so that what is to be done is done there."""
        return bool(self.kubeconfig) and not (self.files or self.registry or self.online)

    def store(self) -> FeatureStore:
        """The feature store that the options name; without any of them, of the YAML files in this folder.

        Raises:
            RejectError: nothing is there.
        """
        if not self.files and (self.registry or self.kubeconfig):
            return self.deployed()
        store = sdk.FeatureStore.from_files(self.files or [_HERE], online=self.online, project=self.namespace)
        if not self.files and not store.feature_views:
            raise RejectError(
                "this folder has no YAML file with a feature view",
                hint="Give --files FILE, --registry URL or --kubeconfig FILE",
            )
        return store

    def deployed(self) -> FeatureStore:
        """What is in the registry or the cluster.

        Raises:
            RejectError: neither is named.
        """
        if self.registry:
            return sdk.FeatureStore.connect(
                self.registry, self.gateway, self.namespace, online=self.online, token=self.token_file
            )
        if self.kubeconfig:
            return sdk.FeatureStore.from_cluster(
                self.kubeconfig, self.namespace, self.gateway, online=self.online, token=self.token_file
            )
        raise RejectError("neither a registry nor a cluster is named", hint="Give --registry URL or --kubeconfig FILE")

    def views(self, store: FeatureStore, names: list[str] | None) -> list[str]:
        """The views of these names, or all.

        Raises:
            NotFoundError: one is not there.
        """
        for name in names or ():
            store.definition(name)
        if not names and not store.feature_views:
            raise NotFoundError(f"there is no feature view in namespace {self.namespace!r}", hint="Give --namespace")
        return names or list(store.feature_views)


def targeted(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of ``Target`` to a command, which receives them as its argument ``target``."""
    hints = get_type_hints(command, include_extras=True)
    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "target"]
    options = get_type_hints(Target, include_extras=True)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        target = Target(**{field.name: given.pop(field.name) for field in fields(Target)})
        command(target=target, **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(annotation=hints[parameter.name], kind=keyword) for parameter in own]
    parameters += [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=options[field.name])
        for field in fields(Target)
    ]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
