"""Makes the bundled camera descriptions of ``schemas/cameras``: ``python -m infra.telescope.camera_files FOLDER``.

The LSST focal plane follows LCA-13381 as published with the Rubin ``obs_lsst`` camera: 21 science rafts of 3 x 3
sensors, CCDs of two makers (e2v 4096 x 4004, ITL 4072 x 4000) and sensors for wavefronts in the corner rafts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["descriptions", "main"]

_ITL_RAFTS = frozenset({"R01", "R02", "R03", "R10", "R20", "R41", "R42", "R43"})
_CORNERS = (("R00", 0), ("R04", 1), ("R40", 3), ("R44", 2))
_SENSOR_PITCH = 4225
"""Pixels of 10 micrometres between centres of neighbouring sensors of a raft."""
_RAFT_PITCH = 12700
"""Pixels between centres of neighbouring rafts."""


def _layout(
    width: int, height: int, columns: int, rows: int, *, prescan: int, serial: int, parallel: int
) -> dict[str, Any]:
    """Divide a CCD into a grid of amplifiers; the lower row reads from below, the upper one from above, mirrored."""
    step_x, step_y = width // columns, height // rows
    amplifiers = [
        {
            "name": f"C{row}{column}",
            "box": [column * step_x, row * step_y, (column + 1) * step_x, (row + 1) * step_y],
            "flip_x": row == 1,
            "flip_y": row == 1,
            "prescan": prescan,
            "serial_overscan": serial,
            "parallel_overscan": parallel,
        }
        for row in range(rows)
        for column in range(columns)
    ]
    return {"width": width, "height": height, "amplifiers": amplifiers}


def _detector(
    identifier: int, raft: str, sensor: str, layout: str, centre: tuple[float, float], **more: Any
) -> dict[str, Any]:
    return {"id": identifier, "raft": raft, "sensor": sensor, "layout": layout, "centre": list(centre), **more}


def _small(name: str, instrument: str, layouts: dict[str, Any], detectors: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "instrument": instrument,
        "plate_scale": 0.2,
        "layouts": layouts,
        "detectors": [{"kind": "SCIENCE", **d} for d in detectors],
    }


def _tiny() -> dict[str, Any]:
    layouts = {
        "science": _layout(256, 256, 2, 2, prescan=4, serial=32, parallel=16),
        "wavefront": _layout(128, 256, 1, 2, prescan=4, serial=32, parallel=16),
    }
    detectors = [
        _detector(0, "R22", "S00", "science", (-136.0, 0.0)),
        _detector(1, "R22", "S01", "science", (136.0, 0.0)),
        _detector(2, "R44", "SW0", "wavefront", (344.0, 0.0), kind="WAVEFRONT"),
    ]
    return _small("tiny", "NightcastSim", layouts, detectors)


def _demo() -> dict[str, Any]:
    layouts = {
        "science": _layout(1024, 1024, 4, 2, prescan=4, serial=32, parallel=16),
        "wavefront": _layout(512, 1024, 4, 2, prescan=4, serial=32, parallel=16),
    }
    half = 532.0
    detectors = [
        _detector(0, "R22", "S00", "science", (-half, -half)),
        _detector(1, "R22", "S01", "science", (half, -half)),
        _detector(2, "R22", "S10", "science", (-half, half)),
        _detector(3, "R22", "S11", "science", (half, half)),
        _detector(4, "R44", "SW0", "wavefront", (1340.0, 0.0), kind="WAVEFRONT"),
    ]
    return _small("demo", "NightcastSim", layouts, detectors)


def _itl() -> dict[str, Any]:

    return _layout(4072, 4000, 8, 2, prescan=3, serial=64, parallel=48)


def _full_ccd() -> dict[str, Any]:
    return _small("full-ccd", "NightcastSim", {"itl": _itl()}, [_detector(0, "R22", "S11", "itl", (0.0, 0.0))])


def _raft_centre(raft: str) -> tuple[float, float]:
    return (int(raft[2]) - 2) * float(_RAFT_PITCH), (int(raft[1]) - 2) * float(_RAFT_PITCH)


def _lsstcam() -> dict[str, Any]:
    e2v = _layout(4096, 4004, 8, 2, prescan=10, serial=54, parallel=46)
    corners = {name for name, _ in _CORNERS}
    detectors: list[dict[str, Any]] = []
    for raft in (f"R{row}{column}" for row in range(5) for column in range(5)):
        if raft in corners:
            continue
        x, y = _raft_centre(raft)
        for row, column in ((r, c) for r in range(3) for c in range(3)):
            centre = x + (column - 1) * _SENSOR_PITCH, y + (row - 1) * _SENSOR_PITCH
            layout = "itl" if raft in _ITL_RAFTS else "e2v"
            detectors.append(_detector(len(detectors), raft, f"S{row}{column}", layout, centre))
    for raft, turns in _CORNERS:
        x, y = _raft_centre(raft)
        inward = x - 3000.0 * (1 if x > 0 else -1), y - 3000.0 * (1 if y > 0 else -1)
        detectors.append(_detector(len(detectors), raft, "SW0", "itl", inward, kind="WAVEFRONT", quarter_turns=turns))
    return _small("lsstcam", "LSSTCam", {"e2v": e2v, "itl": _itl()}, detectors)


def descriptions() -> dict[str, dict[str, Any]]:
    """Return every bundled camera description by its name."""
    made = (_tiny(), _demo(), _full_ccd(), _lsstcam())
    return {description["name"]: description for description in made}


def main(folder: Path) -> None:
    """Write the descriptions into a folder."""
    for name, description in descriptions().items():
        (folder / f"{name}.json").write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
