"""A rebuild on a cluster: the command annotation of the FeatureView, which its operator acts on."""

from __future__ import annotations

import time

from millrace.cli.features.target import Target
from millrace.sdk import definitions
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.api.kinds import FEATURE_VIEW


def command(target: Target, view: str) -> str:
    """Sets the annotation, and gives it as ``kubectl annotate`` takes it.

    Raises:
        NotFoundError: there is no such view. RetryError: the API server does not answer or refuses.
    """
    text = f"rebuild-{int(time.time())}:materialize full"
    definitions.annotate(target.kubeconfig, target.namespace, FEATURE_VIEW.plural, view, {COMMAND_ANNOTATION: text})
    return f'{COMMAND_ANNOTATION}="{text}"'
