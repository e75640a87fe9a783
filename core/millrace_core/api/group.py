"""The API group, its version, and the annotations of it that people write. No library is imported for them."""

from __future__ import annotations

from typing import Final

GROUP: Final = "millrace.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
# What the kind FeatureView is called in URLs.
FEATURE_VIEWS: Final = "featureviews"

COMMAND_ANNOTATION: Final = f"{GROUP}/command"
# The metadata.generation whose change or deletion goes ahead although something in use needs what is there.
FORCE_ANNOTATION: Final = f"{GROUP}/force"
