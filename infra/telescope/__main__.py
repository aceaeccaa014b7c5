"""Write a simulated night to disk without Kafka: ``python -m infra.telescope --camera tiny --seed 1 --visits 3 --out DIR``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.telescope import CameraBuffer, Fault, Night, build_release, plan_night, write_static
from infra.telescope.raw_files import write_atomically
from schemas.camera import camera_names, load_camera

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a release, a night's raw files and its truth; return the exit status."""
    options = _parser().parse_args(arguments)
    out: Path = options.out
    camera, bands = load_camera(options.camera), options.bands.split(",")
    started = time.process_time()
    release = build_release(
        camera,
        options.seed,
        out / "cache",
        bands=bands,
        detectors=options.detectors,
        charge_effects=options.charge_effects,
        progress=_say_step,
    )
    link = out / "release"
    link.unlink(missing_ok=True)
    link.symlink_to(release.directory.resolve(), target_is_directory=True)
    _say(f"release {release.path}: {time.process_time() - started:.1f} s of CPU")
    visits = plan_night(camera, options.seed, options.day_obs, options.visits, bands=bands, n_snaps=options.snaps)
    night = Night(camera, options.seed, visits, charge_effects=options.charge_effects)
    faults = dict(_fault(text) for text in options.fault)
    buffer = CameraBuffer(night, out / "raw", detectors=options.detectors, faults=faults)
    for visit in visits:
        started = time.process_time()
        for snap in range(visit.n_snaps):
            buffer.observe(visit, snap)
        buffer.write_truth(visit, out / "truth" / f"{visit.visit}.parquet")
        _say(f"visit {visit.visit} {visit.band}: {time.process_time() - started:.1f} s of CPU")
    write_static(night, out / "truth" / "static.parquet")
    write_atomically(out / "visits.txt", "".join(f"{v.visit} {v.band}\n" for v in visits).encode())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.telescope",
        description="Write a simulated night to disk: OUT/raw/<exposure>/*.fits, OUT/release/release.json (masters, "
        "templates, catalogues) and OUT/truth/<visit>.parquet. The same options give the same bytes.",
    )
    parser.add_argument("--camera", default="tiny", choices=camera_names(), help="camera description (default: tiny)")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything (default: 1)")
    parser.add_argument("--visits", type=int, default=3, help="number of visits (default: 3)")
    parser.add_argument("--snaps", type=int, default=2, help="snaps per visit (default: 2)")
    parser.add_argument("--bands", default="r,i", help="bands, observed in turn (default: r,i)")
    parser.add_argument("--day-obs", type=int, default=20260921, help="night, YYYYMMDD (default: 20260921)")
    parser.add_argument("--detectors", type=int, nargs="*", help="only these detectors (default: all)")
    parser.add_argument(
        "--charge-effects",
        action="store_true",
        help="sensors show the brighter-fatter effect and deferred charge; the masters describe them",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="VISIT:KIND",
        help=f"make a visit go wrong; kinds: {', '.join(Fault)}",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    return parser


def _fault(text: str) -> tuple[int, Fault]:
    visit, _, kind = text.partition(":")
    return int(visit), Fault(kind)


def _say_step(what: str, done: int, steps: int) -> None:
    _say(f"[{done}/{steps}] {what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
