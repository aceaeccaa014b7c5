"""Settings of the whole system: defaults, then a TOML file, then environment variables, later ones winning.

The file is the one that ``NIGHTCAST_CONFIG`` names, else ``nightcast.toml`` in the working directory. A variable is the
path of the setting in capitals, ``NIGHTCAST_`` before it and ``__`` between its parts: ``NIGHTCAST_KAFKA__PORT=19192``.
A name that no setting has is an error: a typing mistake never passes for a default.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from infra.errors import SettingsError

__all__ = [
    "AlertSettings",
    "AssociationSettings",
    "ControlSettings",
    "DayMopsSettings",
    "DetectorSettings",
    "FaultSettings",
    "KafkaSettings",
    "LogSettings",
    "MetricsSettings",
    "NightMopsSettings",
    "NightSettings",
    "ObjectSettings",
    "RegistrySettings",
    "Settings",
    "WebSettings",
    "load_settings",
    "config_file",
]

PREFIX = "NIGHTCAST_"
CONFIG_VARIABLE = "NIGHTCAST_CONFIG"
DEFAULT_FILE = "nightcast.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
    """The Kafka cluster: our own embedded broker, or another one by address."""

    bootstrap_servers: str | None = None
    """Address of a cluster that runs already (``host:port,...``); without it the embedded broker is started."""
    port: int = Field(default=19092, ge=1, le=65535)
    controller_port: int = Field(default=19093, ge=1, le=65535)
    heap_mb: int = Field(default=384, ge=192)
    start_timeout_s: float = Field(default=60.0, gt=0)
    partitions: int = Field(default=4, ge=1)
    """Partitions of every topic keyed by object id; a power of two."""
    replication: int = Field(default=1, ge=1)
    transaction_timeout_s: float = Field(default=10.0, gt=0)
    """Architecture, section 2, step 10: a dead publisher blocks readers of committed messages for at most this long."""


class RegistrySettings(_Section):
    """The schema registry: our own, or another one by URL."""

    url: str | None = None
    port: int = Field(default=18081, ge=1, le=65535)


class WebSettings(_Section):
    """The toolkit's web page."""

    host: str = "127.0.0.1"
    port: int = Field(default=8470, ge=1, le=65535)


class MetricsSettings(_Section):
    """The one Prometheus endpoint."""

    host: str = "127.0.0.1"
    port: int = Field(default=9470, ge=1, le=65535)


class LogSettings(_Section):
    """Log lines of every process."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class ObjectSettings(_Section):
    """The store of pixels and other large things."""

    url: str | None = None
    """``s3://bucket/prefix`` and the like; without it the folder ``objects`` of the data directory."""
    fsync: bool = True
    """Whether a stored file is on disk before its claim is given out (local folder only)."""


class NightSettings(_Section):
    """The simulated night and the rules for closing its visits."""

    camera: str = "demo"
    instrument: str = "NightcastSim"
    subname: str = "sal"
    """Second part of the names of the observatory's topics: ``lsst.<subname>.ScriptQueue...``."""
    observatory: str = "X05"
    """The observatory's code in the Minor Planet Center's list."""
    visits: int = Field(default=8, ge=1)
    snaps: int = Field(default=2, ge=1)
    bands: tuple[str, ...] = ("r", "i")
    cadence_s: float = Field(default=15.0, gt=0)
    seed: int = Field(default=1, ge=0)
    day_obs: int = 20260921
    close_after_s: float = Field(default=40.0, gt=0)
    """Architecture, section 2, step 7: seconds after the last endReadout when a visit closes without what is missing."""


class DetectorSettings(_Section):
    """Detector workers."""

    processes: int = Field(default=2, ge=1)
    lease_s: float = Field(default=20.0, gt=0)
    attempts: int = Field(default=3, ge=1)
    """How often a job is tried while its visit is open."""


class ControlSettings(_Section):
    """Leases, archiving and the patience of the visit saga."""

    heartbeat_s: float = Field(default=2.0, gt=0)
    """Seconds between a worker's signs of life."""
    lease_s: float = Field(default=8.0, gt=0)
    """How long a silent worker keeps its leases."""
    archive_attempts: int = Field(default=5, ge=1)
    arrival_wait_s: float = Field(default=20.0, gt=0)
    """How long a replicator waits for the camera to write an exposure."""
    exposure_grace_s: float = Field(default=15.0, gt=0)
    """How long after its time an exposure that never started is given up."""
    queue_limit: int = Field(default=2000, ge=1)
    """Waiting jobs above which the oldest are dropped first."""
    stale_after_s: float = Field(default=300.0, gt=0)
    """Age of a nextVisit that is refused."""
    prediction_wait_s: float = Field(default=10.0, ge=0)
    """How long after its last read-out a complete visit waits for NightMOPS' prediction, seconds."""
    known_objects_wait_s: float = Field(default=15.0, gt=0)
    """How long a CCD waits for the known objects after its last exposure came."""


class FaultSettings(_Section):
    """Rehearsal of failures; nothing is armed by default."""

    crash: tuple[str, ...] = ()
    """Stages that kill themselves once, between writing their outputs and committing what they read."""


class AssociationSettings(_Section):
    """Association of DIASources with DIAObjects."""

    radius_arcsec: float = Field(default=1.0, gt=0)
    history_days: float = Field(default=365.25, gt=0)


class NightMopsSettings(_Section):
    """Known orbits and their ephemerides."""

    memory_gb: float = Field(default=8.0, gt=0)
    """What importing a catalogue, or building a night's ephemerides, may take: some ten million objects."""


class DayMopsSettings(_Section):
    """The search for unknown moving objects by day."""

    window_nights: int = Field(default=14, ge=3, le=30)
    """Nights whose detections are linked with each other."""
    past_nights: int = Field(default=30, ge=0)
    """How many nights before the window free detections are kept, to find new orbits in them."""
    detections_most: int = Field(default=2_000_000, ge=1)
    """Detections of window and past above which a night is refused; a million takes about a gigabyte."""
    objects_most: int = Field(default=1_000_000, ge=1)
    """Objects of our own above which a night is refused."""
    states_kept: int = Field(default=4, ge=1)
    """Newest states (48 MB each with 270,000 detections in the window) that stay in the object store, besides one of fifteen older nights."""


class AlertSettings(_Section):
    """Alert packets and their publication."""

    topic: str = "lsst-alerts-v11"
    cutout_pixels: int = Field(default=31, ge=5)


class Settings(BaseSettings):
    """Everything that can be set, read once per process; see `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data_dir: Path = Path("~/.local/share/nightcast")
    cache_dir: Path = Path("~/.cache/nightcast")
    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    objects: ObjectSettings = ObjectSettings()
    night: NightSettings = NightSettings()
    detectors: DetectorSettings = DetectorSettings()
    control: ControlSettings = ControlSettings()
    faults: FaultSettings = FaultSettings()
    association: AssociationSettings = AssociationSettings()
    nightmops: NightMopsSettings = NightMopsSettings()
    daymops: DayMopsSettings = DayMopsSettings()
    alerts: AlertSettings = AlertSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: what the caller gives, the environment, the file."""
        file = config_file()
        if file is None:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    def model_post_init(self, context: object, /) -> None:
        """Make the two folders absolute, so that a child process with another working directory agrees."""
        for name in ("data_dir", "cache_dir"):
            self.__dict__[name] = getattr(self, name).expanduser().absolute()

    @property
    def embedded_broker(self) -> bool:
        """Whether this system runs its own broker."""
        return self.kafka.bootstrap_servers is None

    @property
    def bootstrap(self) -> str:
        """Address of the cluster in use."""
        return self.kafka.bootstrap_servers or f"127.0.0.1:{self.kafka.port}"

    @property
    def embedded_registry(self) -> bool:
        """Whether this system runs its own schema registry."""
        return self.registry.url is None

    @property
    def registry_url(self) -> str:
        """Address of the schema registry in use."""
        return self.registry.url or f"http://127.0.0.1:{self.registry.port}"

    @property
    def kafka_dir(self) -> Path:
        """Where the embedded broker keeps its log."""
        return self.data_dir / "kafka"

    @property
    def objects_dir(self) -> Path:
        """Where the local object store keeps its files."""
        return self.data_dir / "objects"

    @property
    def state_dir(self) -> Path:
        """Where the stages keep their local state stores."""
        return self.data_dir / "state"

    @property
    def logs_dir(self) -> Path:
        """Where every process writes its log."""
        return self.data_dir / "logs"

    @property
    def run_dir(self) -> Path:
        """Where the supervisor keeps pid files and its status, all of it valid only while it runs."""
        return self.data_dir / "run"

    @property
    def metrics_dir(self) -> Path:
        """Where every process leaves its metrics for the one endpoint."""
        return self.run_dir / "metrics"

    def night_dir(self, day_obs: int) -> Path:
        """Return the folder of one night's camera buffer, truth and summary."""
        return self.data_dir / "nights" / str(day_obs)

    @property
    def outage_dir(self) -> Path:
        """Where replicators keep copies until the archive has them."""
        return self.data_dir / "outage"

    @property
    def faults_dir(self) -> Path:
        """Where crash points leave their markers."""
        return self.data_dir / "faults"

    @property
    def release_file(self) -> Path:
        """Names the data release in use: the claim on its manifest."""
        return self.state_dir / "release.json"

    def camera_buffer(self, day_obs: int) -> Path:
        """Return the folder where the camera writes a night's raw frames, one folder an exposure."""
        return self.night_dir(day_obs) / "buffer"

    def environment(self) -> dict[str, str]:
        """Return environment variables that give a child process these same settings."""
        variables: dict[str, str] = {}
        for name, value in self.model_dump(mode="json").items():
            section = value if isinstance(value, dict) else {"": value}
            for key, item in section.items():
                if item is not None:
                    path = f"{name}__{key}" if key else name
                    variables[PREFIX + path.upper()] = _as_variable(item)
        return variables


def config_file() -> Path | None:
    """Return the TOML file that is read, if there is one.

    Raises
    ------
    SettingsError
        When ``NIGHTCAST_CONFIG`` names a file that does not exist.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which does not exist; correct or unset it.")
        return path
    default = Path(DEFAULT_FILE)
    return default if default.is_file() else None


def load_settings(**overrides: object) -> Settings:
    """Read the settings of this process.

    Parameters
    ----------
    **overrides
        Settings given by the caller, which win over file and environment.

    Raises
    ------
    SettingsError
        When a name is unknown or a value is of the wrong kind; the sentence names each of them.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The settings file {config_file()} is not valid TOML: {error}.") from error


def _refuse_unknown_variables() -> None:
    known = set(Settings.model_fields)
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE:
            name = variable.removeprefix(PREFIX).lower().split("__")[0]
            if name not in known:
                raise SettingsError(
                    f"{variable} sets nothing: there is no setting {name!r}; see docs/reference/settings.md."
                )


def _sentence(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        what = "no such setting" if item["type"] == "extra_forbidden" else item["msg"]
        parts.append(f"{path}: {what}")
    return "Wrong settings: " + "; ".join(parts) + "."


def _as_variable(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ",".join(f'"{item}"' for item in value) + "]"
    return str(value)
