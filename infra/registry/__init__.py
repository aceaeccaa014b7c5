"""The schema registry: Confluent's REST interface, journalled in the topic ``_schemas``, for Avro schemas.

Stock clients work against it. Beyond what Confluent's own does in its normal mode, a registration may name its id and
version (public alerts have 1101 for both), and the compatibility rules are always enforced.
"""

from __future__ import annotations

from infra.registry.client import RegistryClient
from infra.registry.process import registry_process

__all__ = ["RegistryClient", "registry_process"]
