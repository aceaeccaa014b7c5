"""Profile a whole CCD, two raw snaps to DIASources: ``python -m tests.benchmarks._whole_ccd FOLDER [SCENE [SEED]]``.

The scene's raw snaps are kept in the folder. The CCD is processed three times, as a detector's process does, with one thread: the first time warms
caches, the second gives the CPU of each step and the memory, the third the flame graph, whose clock slows small functions down. The tables are
printed, the graph written to docs/images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infra.memory import keep_freed_memory
from infra.telescope.imaging_scenes import cached
from infra.telescope.imaging_scenes.raw_store import cached_raw_snaps
from infra.telescope.imaging_scenes.scene import ImagingScene
from processors.detector import DetectorInputs, process_detector
from processors.differencing import warm as differencing_warm
from processors.differencing.templates import Template, TemplateChoice, TemplateInfo
from processors.single_frame import warm as single_frame_warm
from processors.single_frame.frames import parse_raw
from streams.reliability import packaged_model
from tests.benchmarks._flame import Node, draw

GRAPH: Final = Path(__file__).parents[2] / "docs" / "images" / "ccd-profile.svg"
HOME: Final = str(Path(__file__).parents[2])
FOLDED: Final = 40
"""Functions in the table."""

KNOWN: Final = 1000


class StackClock:
    """CPU seconds by stack of calls; what is not this project's is one box under whoever called it."""

    def __init__(self) -> None:
        self.root = Node("process_detector")
        self._path = [self.root]
        self._names: dict[CodeType, str] = {}
        self._last = 0.0

    def _name(self, code: CodeType) -> str:
        if code not in self._names:
            parts = Path(code.co_filename).parts
            ours = code.co_filename.startswith((HOME, "processors"))
            package = parts[parts.index("site-packages") + 1] if "site-packages" in parts else "Python"
            self._names[code] = f"{Path(code.co_filename).stem}.{code.co_qualname}" if ours else package
        return self._names[code]

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        """Take the time until now to the function that ran, and follow the call or the return."""
        if event not in ("call", "return"):
            return
        now = time.process_time()
        self._path[-1].seconds += now - self._last
        if event == "call":
            name = self._name(frame.f_code)
            top = self._path[-1]
            self._path.append(top if "." not in name and "." not in top.name else top.child(name))
        elif len(self._path) > 1:
            self._path.pop()
        self._last = time.process_time()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what is done inside."""
        self._last = time.process_time()
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)


class StepClock:
    """CPU seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure one step."""
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def inputs_of(scene: ImagingScene, folder: Path) -> DetectorInputs:
    """Return what a detector job would get for a scene's raw snaps;"""
    made, snaps = scene.template, cached_raw_snaps(scene, folder, charge_effects=False)
    names = ("image", "variance", "mask", "psf", "wcs", "noise_factor", "band")
    template = Template(**{name: getattr(made, name) for name in names})
    info = TemplateInfo(path="", detector=0, band=made.band, airmass=1.06, airmass_min=1.0, airmass_max=1.3)
    raws = [parse_raw(file, snaps.detector) for file in snaps.files]
    return DetectorInputs(
        frames=lambda: (raws, snaps.masters),
        references=snaps.references,
        template_for=lambda _: (template, TemplateChoice(info=info, airmass_distance=0.0)),
        camera=snaps.camera,
        detector=snaps.detector,
        visit=2026010100001,
        known=_known(scene),
        reliability=packaged_model(),
    )


def _known(scene: ImagingScene) -> NDArray[np.void]:
    """Return a scene's first thousand objects as known ones."""
    static = scene.truth.static[:KNOWN]
    rows = np.zeros(len(static), [("diaObjectId", "<i8"), ("ra", "<f8"), ("dec", "<f8")])
    rows["diaObjectId"], rows["ra"], rows["dec"] = np.arange(1, len(rows) + 1), static["ra"], static["dec"]
    return rows


def main(folder: Path, name: str = "nominal", seed: int = 1) -> None:
    """Measure, print the tables, draw the graph."""
    keep_freed_memory()
    differencing_warm.warm_up()
    single_frame_warm.warm_up()
    inputs = inputs_of(cached(name, seed, folder), folder)
    process_detector(inputs)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    clock, start = StepClock(), time.process_time()
    sources = len(process_detector(inputs, step=clock.step).difference.sources)
    whole = time.process_time() - start
    print(
        f"{name} {seed}: {whole:.2f} CPU s, {sources} sources; resident {before:.2f} GiB before, {_memory('VmHWM'):.2f} at most"
    )
    for step, seconds in clock.seconds.items():
        print(f"| {step} | {seconds:.2f} |")
    stacks = StackClock()
    with stacks.running():
        process_detector(inputs)
    print(f"\nown time of functions, with the clock of calls ({stacks.root.total():.2f} CPU s)")
    for function, seconds in sorted(stacks.root.by_function().items(), key=lambda item: -item[1])[:FOLDED]:
        print(f"| {function} | {seconds:.2f} |")
    GRAPH.write_text(draw(stacks.root, f"One CCD, two raw snaps to DIASources: {stacks.root.total():.1f} CPU s"))


def _memory(name: str) -> float:
    """Return a line of the process's status in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "nominal", int(sys.argv[3]) if sys.argv[3:] else 1)
