"""Camera descriptions: detectors, amplifiers and where they lie in the focal plane.

A description is a JSON file in ``schemas/cameras``. Boxes are half-open, in pixels of the trimmed CCD,
``x0, y0, x1, y1``. Focal-plane offsets are in pixels from the boresight to the detector's centre, with x and y as the
trimmed CCD's axes (every detector of these cameras is mounted with its axes along the focal plane's, up to quarter turns).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from schemas.errors import CameraDescriptionError

__all__ = ["Amplifier", "Camera", "Detector", "camera_names", "load_camera"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplifier:
    """One read-out channel of a CCD and the layout of its raw frame.

    The raw frame has ``prescan`` columns, then the imaging columns, then ``serial_overscan`` columns; and the imaging
    rows, then ``parallel_overscan`` rows. ``flip_x`` and ``flip_y`` say that the first pixel read lies at the high end of
    its box.
    """

    name: str
    box: tuple[int, int, int, int]
    flip_x: bool
    flip_y: bool
    prescan: int
    serial_overscan: int
    parallel_overscan: int

    @property
    def width(self) -> int:
        """Imaging columns."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """Imaging rows."""
        return self.box[3] - self.box[1]

    @property
    def raw_shape(self) -> tuple[int, int]:
        """Rows and columns of the raw frame."""
        return self.height + self.parallel_overscan, self.prescan + self.width + self.serial_overscan


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One CCD (``kind`` SCIENCE) or wavefront sensor (``kind`` WAVEFRONT)."""

    id: int
    name: str
    raft: str
    sensor: str
    kind: str
    width: int
    height: int
    centre: tuple[float, float]
    quarter_turns: int
    amplifiers: tuple[Amplifier, ...]

    @property
    def is_wavefront(self) -> bool:
        """Whether this is a wavefront sensor."""
        return self.kind == "WAVEFRONT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera: its instrument name, plate scale and detectors in order of their ids."""

    name: str
    instrument: str
    plate_scale: float
    """Arcseconds per pixel."""
    detectors: tuple[Detector, ...]

    def detector(self, identifier: int) -> Detector:
        """Return the detector of that id, or raise CameraDescriptionError."""
        for candidate in self.detectors:
            if candidate.id == identifier:
                return candidate
        raise CameraDescriptionError(f"Camera {self.name} has no detector {identifier}.")

    @property
    def rafts(self) -> dict[str, tuple[Detector, ...]]:
        """Science detectors by raft, in order of their ids."""
        names = dict.fromkeys(d.raft for d in self.detectors if not d.is_wavefront)
        return {name: tuple(d for d in self.detectors if d.raft == name and not d.is_wavefront) for name in names}

    @property
    def wavefront_sensors(self) -> tuple[Detector, ...]:
        """Wavefront sensors in order of their ids."""
        return tuple(d for d in self.detectors if d.is_wavefront)


def camera_names() -> tuple[str, ...]:
    """Return the names of the bundled descriptions."""
    folder = resources.files("schemas") / "cameras"
    return tuple(sorted(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json")))


@functools.cache
def load_camera(name: str) -> Camera:
    """Read a bundled camera description.

    Raises
    ------
    CameraDescriptionError
        When there is none of that name, or it contradicts itself.
    """
    if name not in camera_names():
        raise CameraDescriptionError(f"There is no camera named {name}; there are {', '.join(camera_names())}.")
    text = (resources.files("schemas") / "cameras" / f"{name}.json").read_text()
    camera = _camera(json.loads(text))
    _check(camera)
    return camera


def _camera(document: dict[str, Any]) -> Camera:
    layouts = {key: tuple(_amplifier(a) for a in value["amplifiers"]) for key, value in document["layouts"].items()}
    detectors = tuple(_detector(entry, document["layouts"], layouts) for entry in document["detectors"])
    return Camera(
        name=document["name"],
        instrument=document["instrument"],
        plate_scale=float(document["plate_scale"]),
        detectors=detectors,
    )


def _amplifier(entry: dict[str, Any]) -> Amplifier:
    return Amplifier(**{**entry, "box": tuple(entry["box"])})


def _detector(entry: dict[str, Any], sizes: dict[str, Any], layouts: dict[str, tuple[Amplifier, ...]]) -> Detector:
    layout = entry["layout"]
    return Detector(
        id=entry["id"],
        name=f"{entry['raft']}_{entry['sensor']}",
        raft=entry["raft"],
        sensor=entry["sensor"],
        kind=entry["kind"],
        width=sizes[layout]["width"],
        height=sizes[layout]["height"],
        centre=(float(entry["centre"][0]), float(entry["centre"][1])),
        quarter_turns=entry.get("quarter_turns", 0),
        amplifiers=layouts[layout],
    )


def _check(camera: Camera) -> None:
    ids = [d.id for d in camera.detectors]
    if ids != sorted(set(ids)):
        raise CameraDescriptionError(f"The detectors of {camera.name} are not in ascending order of unique ids.")
    for detector in camera.detectors:
        covered = sum(a.width * a.height for a in detector.amplifiers)
        if covered != detector.width * detector.height:
            raise CameraDescriptionError(f"The amplifiers of {detector.name} do not cover its pixels.")
