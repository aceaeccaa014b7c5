"""What the simulated OCS says of a visit: records of the SAL events, in the telescope's own time."""

from __future__ import annotations

from typing import Any

from infra.sal import DOME_OPEN, ICRS, SKY_ROTATION, tai_of_mjd
from infra.telescope.schedule import PlannedVisit

__all__ = ["canceled_record", "end_readout_record", "next_visit_record", "start_integration_record"]

SURVEY = "nightcast-simulation"
SCRIPT_INDEX_BASE = 100_000


def next_visit_record(visit: PlannedVisit, **changes: Any) -> dict[str, Any]:
    """Return the announcement of a visit; ``changes`` overwrite fields, to make it wrong on purpose."""
    record: dict[str, Any] = {
        "salIndex": 1,
        "scriptSalIndex": SCRIPT_INDEX_BASE + visit.sequence,
        "groupId": visit.group_id,
        "coordinateSystem": ICRS,
        "position": [visit.ra, visit.dec],
        "startTime": tai_of_mjd(visit.start_mjd_tai),
        "rotationSystem": SKY_ROTATION,
        "cameraAngle": visit.rotation,
        "filters": visit.band,
        "dome": DOME_OPEN,
        "duration": visit.duration_s,
        "nimages": visit.n_snaps,
        "instrument": visit.camera.instrument,
        "survey": SURVEY,
        "totalCheckpoints": visit.n_snaps,
    }
    return record | changes


def canceled_record(visit: PlannedVisit) -> dict[str, Any]:
    """Return the message that takes the announcement back."""
    return {"salIndex": 1, "scriptSalIndex": SCRIPT_INDEX_BASE + visit.sequence, "groupId": visit.group_id}


def start_integration_record(visit: PlannedVisit, snap: int) -> dict[str, Any]:
    """Return the message that a snap's shutter opens."""
    return _image(visit, snap) | {"exposureTime": visit.exposure_time, "mode": "Normal", "timeout": 120.0}


def end_readout_record(visit: PlannedVisit, snap: int) -> dict[str, Any]:
    """Return the message that a snap is read out."""
    return _image(visit, snap) | {
        "requestedExposureTime": visit.exposure_time,
        "timestampEndOfReadout": tai_of_mjd(visit.readout_end_mjd_tai(snap)),
    }


def _image(visit: PlannedVisit, snap: int) -> dict[str, Any]:
    number = visit.sequence + snap
    return {
        "additionalKeys": "imageType:groupId",
        "additionalValues": f"OBJECT:{visit.group_id}",
        "imagesInSequence": visit.n_snaps,
        "imageName": f"MC_O_{visit.day_obs}_{number:06d}",
        "imageIndex": snap + 1,
        "imageSource": "MC",
        "imageController": "O",
        "imageDate": str(visit.day_obs),
        "imageNumber": number,
        "timestampAcquisitionStart": tai_of_mjd(visit.begin_mjd_tai(snap)),
    }
