"""Measure the memory of a detector's process: ``python -m tests.benchmarks._worker_memory FOLDER [SCENE [SEED]]``.

A scene's raw snaps, masters, template and catalogues become the files of an object store in FOLDER. Another process, which never holds
the simulator, then does the same job twice as the pool's processes do: from claims to a result with everything put
back into the store. Resident memory is the most since the process began.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import fit_wcs_from_points

from infra.memory import keep_freed_memory
from infra.objects import ObjectStore
from infra.telescope.imaging_scenes import cached
from infra.telescope.imaging_scenes.raw_store import cached_raw_snaps
from infra.telescope.imaging_scenes.scene import ImagingScene
from processors.detector import DetectorInputs
from processors.differencing.warm import warm_up as warm_differencing
from processors.single_frame.warm import warm_up as warm_single_frame
from schemas import avro
from schemas.tables import Claim, Table
from streams.detectors.task import JobTask
from streams.detectors.work import DetectorBench
from streams.inputs import ingest_release

JOBS = 2


def prepare(folder: Path, name: str, seed: int) -> None:
    """Write what a job for a scene needs into a store within a folder, and the job itself beside it."""
    from tests.benchmarks._whole_ccd import inputs_of

    scene = cached(name, seed, folder)
    inputs, snaps = inputs_of(scene, folder), cached_raw_snaps(scene, folder, charge_effects=False)
    release, objects = folder / "worker-release", ObjectStore.local(folder / "worker-objects", fsync=False)
    release.mkdir(exist_ok=True)
    (release / "masters.fits").write_bytes(snaps.encoded_masters)
    _template(scene, snaps.detector.id).writeto(release / "template.fits", overwrite=True)
    for table in ("refcat", "objects"):
        rows = fits.BinTableHDU(snaps.references, name=table.upper())
        fits.HDUList([fits.PrimaryHDU(), rows]).writeto(release / f"{table}.fits", overwrite=True)
    bins = {"airmass": 1.06, "airmass_min": 1.0, "airmass_max": 1.3}
    template = {"path": "template.fits", "detector": snaps.detector.id, "band": scene.template.band, **bins}
    paths = {"masters": {str(snaps.detector.id): "masters.fits"}, "refcat": "refcat.fits", "objects": "objects.fits"}
    (release / "release.json").write_text(json.dumps({"templates": [template], **paths}))
    job = {
        "visit": inputs.visit,
        "detector": snaps.detector.id,
        "camera": snaps.camera.name,
        "band": scene.template.band,
        "raws": [asdict(objects.put(file)) for file in snaps.encoded_files],
        "release": ingest_release(release, objects).sha256,
        "known": asdict(objects.put(_known(inputs))),
    }
    (folder / "worker-job.json").write_text(json.dumps(job))


def _template(scene: ImagingScene, detector: int) -> fits.HDUList:
    """Return a scene's template as a release's file has it."""
    made = scene.template
    header = _tangent_plane(scene).to_header()
    header.update(
        {"BAND": made.band, "AIRMASS": 1.06, "NEPOCHS": 3, "NOISEFAC": made.noise_factor, "DETECTOR": detector}
    )
    planes = {"VARIANCE": made.variance, "MASK": made.mask, "PSF": np.asarray(made.psf, np.float32)}
    image = fits.ImageHDU(made.image, header=header, name="IMAGE")
    return fits.HDUList([fits.PrimaryHDU(), image, *(fits.ImageHDU(data, name=name) for name, data in planes.items())])


def _tangent_plane(scene: ImagingScene) -> WCS:
    """Return the gnomonic map that a scene's template has, as cards describe it."""
    made = scene.template
    rows, columns = made.image.shape
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, columns - 1, 9), np.linspace(0, rows - 1, 9)))
    ra, dec = made.wcs.all_pix2world(x, y, 0)
    wcs: WCS = fit_wcs_from_points((x, y), SkyCoord(ra, dec, unit="deg"), projection="TAN")
    return wcs


def _known(inputs: DetectorInputs) -> bytes:
    assert inputs.known is not None
    return avro.encode(Table.from_array(inputs.known))


def work(folder: Path) -> None:
    """Do the job as a process of the pool does, and print its memory."""
    job = json.loads((folder / "worker-job.json").read_text())
    keep_freed_memory()
    warm_differencing()
    warm_single_frame()
    bench = DetectorBench(ObjectStore.local(folder / "worker-objects", fsync=False))
    gc.freeze()
    task = JobTask(
        job_id="memory",
        epoch=1,
        instrument="NightcastSim",
        visit=job["visit"],
        detector=job["detector"],
        is_wavefront=False,
        camera=job["camera"],
        band=job["band"],
        n_snaps=len(job["raws"]),
        raws=tuple(Claim(**claim) for claim in job["raws"]),
        release_sha256=job["release"],
        known_objects=Claim(**job["known"]),
    )
    print(f"warm: {_memory('VmRSS'):.2f} GiB resident")
    for number in range(1, JOBS + 1):
        product = bench.run(task)
        if product.result is None:
            raise SystemExit(str(product.failure))
        seconds = {step.removeprefix("cpu_").removesuffix("_s"): round(s, 2) for step, s in product.metrics.items()}
        print(
            f"job {number}: {product.result.diasources.rows} sources, {sum(seconds.values()):.2f} CPU s {seconds}; "
            f"resident {_memory('VmRSS'):.2f} GiB, {_memory('VmHWM'):.2f} GiB at most",
            flush=True,
        )


def _memory(name: str) -> float:
    """Return a line of the process's status in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 2**20


def main(folder: Path, name: str = "nominal", seed: int = 1) -> None:
    """Prepare the files, then do the jobs in a process of their own."""
    prepare(folder, name, seed)
    subprocess.run([sys.executable, "-m", "tests.benchmarks._worker_memory", "--work", str(folder)], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        work(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "nominal", int(sys.argv[3]) if sys.argv[3:] else 1)
