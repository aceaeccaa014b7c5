"""The simulated telescope: scheduler, camera, sky, last data release, and the OCS that announces what it does.

It shares no code with the pipeline it feeds: files and messages are all that passes between them.
"""

from infra.telescope.camera_buffer import CameraBuffer, Fault
from infra.telescope.errors import PlanError, TelescopeError
from infra.telescope.night import Night
from infra.telescope.release import Release, build_release
from infra.telescope.schedule import PlannedVisit, plan_night
from infra.telescope.truth import write_static

__all__ = [
    "CameraBuffer",
    "Fault",
    "Night",
    "PlanError",
    "PlannedVisit",
    "Release",
    "TelescopeError",
    "build_release",
    "plan_night",
    "write_static",
]
