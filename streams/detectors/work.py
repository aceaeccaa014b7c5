"""One detector job from claims to result; runs in a process of the pool."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from infra.logs import configure_logging, correlate, get_logger
from infra.memory import give_back_memory, keep_freed_memory
from infra.objects import ObjectStore, open_object_store
from infra.settings import Settings
from infra.turns import warm_in_turns
from processors.detector import DetectorInputs, process_detector
from processors.single_frame import pipeline as single_frame
from processors.single_frame.frames import RawFrame
from processors.single_frame.products import CalibratedImage
from schemas import avro
from schemas.camera import Detector, load_camera
from schemas.events import DetectorResult
from schemas.public import dia_source_dtype, forced_source_dtype
from schemas.raw import MasterCalibrations
from schemas.tables import Claim, Table
from streams.detectors.inputs import JobInputs
from streams.detectors.stamps import pack_stamps
from streams.detectors.task import JobFailure, JobProduct, JobTask
from streams.reliability import packaged_model

__all__ = ["DetectorBench", "initialise", "run"]

log = get_logger(__name__)


class DetectorBench:
    """Where jobs are done: inputs at hand, products put into the object store.

    Parameters
    ----------
    objects
        The object store.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._inputs = JobInputs(objects)
        self._reliability = packaged_model()

    def run(self, task: JobTask) -> JobProduct:
        """Do one job; whatever goes wrong is in the product."""
        clock = _Clock()
        with correlate(visit=task.visit, detector=task.detector, job=task.job_id):
            try:
                result = self._wavefront(task, clock) if task.is_wavefront else self._science(task, clock)
            except Exception as error:  # one detector's trouble must not touch the others
                failure = JobFailure.of(error)
                if failure.code == "unexpected":
                    log.exception("job failed unexpectedly")
                return JobProduct(failure=failure, metrics=clock.seconds)
            finally:
                gc.collect()
            log.info("job done", rows=result.diasources.rows, **clock.seconds)
        return JobProduct(result=result, metrics=clock.seconds)

    def _science(self, task: JobTask, clock: _Clock) -> DetectorResult:
        camera = load_camera(task.camera)
        detector = camera.detector(task.detector)
        with clock.step("read"):
            references = self._inputs.references(task.release_sha256)
            known = self._inputs.known_objects(task.known_objects)
        inputs = DetectorInputs(
            frames=lambda: self._frames(task, detector),
            references=references,
            template_for=lambda airmass: self._inputs.template(task.release_sha256, task.detector, task.band, airmass),
            camera=camera,
            detector=detector,
            visit=task.visit,
            known=known,
            reliability=self._reliability,
        )
        products = process_detector(inputs, step=clock.step)
        with clock.step("stamps"):
            pack = pack_stamps(task.visit, task.detector, products.science, products.difference)
        image, found, forced_rows, metrics = products.image, products.difference, products.forced, products.metrics
        sources, snaps, template = found.sources, found.snaps, products.choice.info.sha256
        del products, found, inputs  # half of the job's memory, before files of two hundred megabytes are made
        give_back_memory()
        with clock.step("store"):
            cutouts = self._objects.put(avro.encode(pack)) if pack.stamps else None
            del pack
            calibrated = self._objects.put(_image_file(image))
        digests = self._inputs.digests(task.release_sha256, task.detector)
        return self._result(
            task,
            image,
            sources=sources,
            forced_rows=forced_rows,
            metrics=metrics,
            cutouts=cutouts,
            calibrated=calibrated,
            inputs=digests | {"template": template, "reliability": self._reliability.sha256},
            corners=_corners(image),
            snaps=snaps,
        )

    def _wavefront(self, task: JobTask, clock: _Clock) -> DetectorResult:
        camera = load_camera(task.camera)
        detector = camera.detector(task.detector)
        with clock.step("read"):
            raws, masters = self._frames(task, detector)
        with clock.step("single_frame"):
            image = single_frame.calibrate_wavefront(raws, masters)
        plate = {"psf_fwhm_arcsec": image.metrics["psf_fwhm_pixels"] * camera.plate_scale}
        return self._result(
            task,
            image,
            metrics={**image.metrics, **plate},
            inputs=self._inputs.digests(task.release_sha256, task.detector),
        )

    def _frames(self, task: JobTask, detector: Detector) -> tuple[list[RawFrame], MasterCalibrations]:
        masters = self._inputs.masters(task.release_sha256, task.detector, task.band)
        gc.collect()  # an open FITS file is a cycle that holds the file's bytes
        return self._inputs.raws(task.raws, detector), masters

    def _result(
        self,
        task: JobTask,
        image: Any,
        *,
        metrics: dict[str, float],
        inputs: dict[str, str],
        sources: NDArray[Any] | None = None,
        forced_rows: NDArray[Any] | None = None,
        cutouts: Claim | None = None,
        calibrated: Claim | None = None,
        corners: tuple[float, ...] = (),
        snaps: NDArray[Any] | None = None,
    ) -> DetectorResult:
        raws = {f"raw_{number}": claim.sha256 for number, claim in enumerate(task.raws)}
        known = {"known_objects": task.known_objects.sha256} if task.known_objects else {}
        return DetectorResult(
            instrument=task.instrument,
            visit=task.visit,
            detector=task.detector,
            job_id=task.job_id,
            band=task.band,
            midpoint_mjd_tai=image.midpoint_mjd_tai,
            exposure_time=image.exposure_time,
            diasources=Table.from_array(np.zeros(0, dia_source_dtype()) if sources is None else sources),
            forced=Table.from_array(np.zeros(0, forced_source_dtype()) if forced_rows is None else forced_rows),
            metrics={name: float(value) for name, value in metrics.items()},
            cutouts=cutouts,
            calibrated=calibrated,
            inputs=inputs | raws | known,
            notes=task.notes,
            corners=corners,
            snaps=None if snaps is None else Table.from_array(snaps),
        )


class _Clock:
    """CPU seconds of this process by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add what happens inside to a step."""
        started = time.process_time()
        try:
            yield
        finally:
            key = f"cpu_{name}_s"
            self.seconds[key] = self.seconds.get(key, 0.0) + time.process_time() - started


def _corners(image: CalibratedImage) -> tuple[float, ...]:
    """ra, dec of the four corners of the CCD's area, counter-clockwise from the first pixel."""
    rows, columns = image.image.shape
    x = np.array([-0.5, columns - 0.5, columns - 0.5, -0.5])
    y = np.array([-0.5, -0.5, rows - 0.5, rows - 0.5])
    ra, dec = image.wcs.all_pix2world(x, y, 0)
    return tuple(float(value) for pair in zip(ra, dec, strict=True) for value in pair)


def _image_file(image: CalibratedImage) -> bytes:
    """The calibrated image as FITS: IMAGE and VARIANCE in nJy, MASK, and the WCS; no date, so the same input gives the same bytes."""
    header = image.wcs.to_header(relax=True)
    header["BUNIT"] = "nJy"
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(image.image, header, name="IMAGE"),
        fits.ImageHDU(image.variance, name="VARIANCE"),
        fits.ImageHDU(image.mask, name="MASK"),
    ]
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


_bench: list[DetectorBench] = []
"""The bench of this process of the pool."""


def initialise(settings_json: str, name: str) -> None:
    """Open the object store, keep memory from job to job, and compile what jobs call, once in a process."""
    settings = Settings.model_validate_json(settings_json)
    configure_logging(name, level=settings.log.level)
    keep_freed_memory()
    started = time.process_time()
    _warm_up(settings.cache_dir / "warming")
    _bench[:] = [DetectorBench(open_object_store(settings))]
    gc.freeze()  # what is there now stays: no job looks through it for cycles
    log.info("process warm", cpu_s=round(time.process_time() - started, 2))


def _warm_up(locks: Path) -> None:
    """Compile, or load from the cache on disk, every kernel that a job calls."""
    from processors.differencing.warm import warm_up as warm_differencing
    from processors.single_frame.warm import warm_up as warm_single_frame

    warm_in_turns({"differencing": warm_differencing, "single-frame": warm_single_frame}, locks)


def run(task: JobTask) -> JobProduct:
    """Do one job at this process's bench."""
    return _bench[0].run(task)
