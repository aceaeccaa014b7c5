"""Errors of the outside world: one sentence, a stable code, retriable or permanent by type.

NightcastError (schemas)
├── PermanentFailure
│   ├── SettingsError              a setting is unknown, missing or of the wrong kind
│   ├── CorruptObjectError         stored bytes no longer have the hash they are named by
│   ├── ObjectMissingError         no object of that claim is in the store
│   ├── RegistryRefusedError       the schema registry refused a request
│   ├── KafkaFencedError           another process has taken over our transactional id
│   ├── KafkaRequestError          the cluster refused a request for good
│   ├── JarsError                  the broker's jars do not match the lock file
│   ├── OrbitFileError             a file of orbits cannot be read or written
│   ├── StateStoreError            a local state store cannot be opened or read
│   └── StartError                 a process of the engine could not be started
│       ├── PortTakenError         another program listens on a port we need
│       └── AlreadyRunningError    the engine of this data directory runs already
└── TransientFailure
    ├── DiskFullError              no space is left in the data directory
    ├── ObjectStoreError           the object store failed in a way that may pass
    ├── KafkaUnavailableError      the cluster does not answer
    ├── RegistryUnavailableError   the schema registry does not answer
    └── DownloadError              the broker's jars could not be fetched
"""

from __future__ import annotations

from schemas.errors import PermanentFailure, TransientFailure

__all__ = [
    "AlreadyRunningError",
    "CorruptObjectError",
    "DiskFullError",
    "DownloadError",
    "JarsError",
    "KafkaFencedError",
    "KafkaRequestError",
    "KafkaUnavailableError",
    "ObjectMissingError",
    "ObjectStoreError",
    "OrbitFileError",
    "PortTakenError",
    "RegistryRefusedError",
    "RegistryUnavailableError",
    "SettingsError",
    "StartError",
    "StateStoreError",
]


class SettingsError(PermanentFailure):
    """A setting is unknown, missing or of the wrong kind."""

    code = "settings"


class CorruptObjectError(PermanentFailure):
    """Stored bytes no longer have the hash they are named by."""

    code = "corrupt_object"


class ObjectMissingError(PermanentFailure):
    """No object of that claim is in the store."""

    code = "object_missing"


class RegistryRefusedError(PermanentFailure):
    """The schema registry refused a request.

    Parameters
    ----------
    sentence
        What was refused and why.
    status
        HTTP status of the answer.
    error_code
        The registry's own code, such as 40401 or 42201.
    """

    code = "registry_refused"

    def __init__(self, sentence: str, *, status: int = 422, error_code: int = 42201) -> None:
        super().__init__(sentence)
        self.status = status
        self.error_code = error_code


class KafkaFencedError(PermanentFailure):
    """Another process has taken over our transactional id; this one must stop."""

    code = "kafka_fenced"


class KafkaRequestError(PermanentFailure):
    """The cluster refused a request, and would refuse it again."""

    code = "kafka_request"


class JarsError(PermanentFailure):
    """The broker's jars do not match the lock file."""

    code = "jars"


class OrbitFileError(PermanentFailure):
    """A file of orbits cannot be read or written."""

    code = "orbit_file"


class StateStoreError(PermanentFailure):
    """A local state store cannot be opened or read."""

    code = "state_store"


class StartError(PermanentFailure):
    """A process of the engine could not be started."""

    code = "start"


class PortTakenError(StartError):
    """Another program listens on a port that we need."""

    code = "port_taken"


class AlreadyRunningError(StartError):
    """The engine of this data directory runs already."""

    code = "already_running"


class DiskFullError(TransientFailure):
    """No space is left where the data live."""

    code = "disk_full"


class ObjectStoreError(TransientFailure):
    """The object store failed in a way that may pass."""

    code = "object_store"


class KafkaUnavailableError(TransientFailure):
    """The Kafka cluster does not answer."""

    code = "kafka_unavailable"


class RegistryUnavailableError(TransientFailure):
    """The schema registry does not answer."""

    code = "registry_unavailable"


class DownloadError(TransientFailure):
    """The broker's jars could not be fetched."""

    code = "download"
