"""Settings of the process that an uninstall runs first."""

from __future__ import annotations

from pydantic import Field

from millrace_core.base.settings import Names, Settings


class UninstallSettings(Settings):
    """What is to be let go, and what is to be deleted."""

    namespace: str = Field("millrace-system", alias="MILLRACE_NAMESPACE", description="The operator's own namespace")
    namespaces: Names = Field(
        (),
        alias="MILLRACE_NAMESPACES",
        description="The namespaces that the operator acts on, with commas between them. Empty: all",
    )
    delete_objects: bool = Field(
        False,
        alias="MILLRACE_DELETE_OBJECTS",
        description="Delete all FeatureViews, ModelDeployments and Experiments, while the operator still runs and "
        "purges what they stored. Otherwise they stay, and what was made for them works on",
    )
    patience: float = Field(
        120.0,
        alias="MILLRACE_PATIENCE_SECONDS",
        ge=0,
        description="How long the operator is given to delete what is to be deleted, and then to end",
    )
