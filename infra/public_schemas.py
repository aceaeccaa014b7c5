"""Register the public alert packet's schema under the subjects that subscribers look it up by, always with id and version 1101.

An id that no registry knows is poison for every subscriber, so this is done before the first alert is published.
"""

from __future__ import annotations

from infra.errors import RegistryRefusedError
from infra.registry.client import RegistryClient
from infra.registry.compatibility import Level
from schemas.public import alert_schema_json, schema_id

__all__ = ["PUBLIC_SUBJECT", "public_subjects", "register_public"]

PUBLIC_SUBJECT = "alert-packet"
"""Subject of all versions of the packet, as the community's clients know it."""

FIXED_SUBJECTS = (PUBLIC_SUBJECT, "lsst-alerts-v11.1-value", "alert-store-value", "alerts-lite-value")


def public_subjects(topic: str = "lsst-alerts-v11") -> tuple[str, ...]:
    """Return the subjects of the packet's schema, that of the public topic's values among them."""
    return (*FIXED_SUBJECTS, f"{topic}-value")


def register_public(registry: RegistryClient, topic: str = "lsst-alerts-v11") -> int:
    """Register the packet's schema where it is missing, and hold later versions to FORWARD_TRANSITIVE; return its id.

    Raises
    ------
    RegistryRefusedError
        When the id belongs to another schema.
    RegistryUnavailableError
        When the registry does not answer.
    """
    identifier = schema_id()
    for subject in public_subjects(topic):
        given = _register(registry, subject, identifier)
        if given != identifier:
            raise RegistryRefusedError(
                f"The registry has the alert schema under {subject} as {given}, not as {identifier}; "
                "remove that subject, or use another registry."
            )
        registry.set_level(Level.FORWARD_TRANSITIVE, subject)
    return identifier


def _register(registry: RegistryClient, subject: str, identifier: int) -> int:
    """Ask for the id outright; a registry that gives ids only in import mode is put into it for this subject."""
    schema = alert_schema_json()
    try:
        return registry.register(subject, schema, identifier=identifier, version=identifier)
    except RegistryRefusedError as error:
        if error.status != 422:
            raise
    registry.set_mode("IMPORT", subject)
    try:
        return registry.register(subject, schema, identifier=identifier, version=identifier)
    finally:
        registry.set_mode("READWRITE", subject)
