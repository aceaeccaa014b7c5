"""Judge links of detections by the truth of a simulated survey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.findable import MIN_NIGHTS, good_nights
from infra.telescope.detections.populations import CLASSES

__all__ = ["ClassScore", "LinkingScore", "score_links"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class of bodies."""

    findable: int
    found: int
    missed: tuple[int, ...]
    """object_id of the findable bodies that were not found."""

    @property
    def completeness(self) -> float:
        """Found of findable; NaN where none was findable."""
        return self.found / self.findable if self.findable else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkingScore:
    """All links of a survey."""

    classes: dict[str, ClassScore]
    links: int
    pure: int
    """Links whose every detection is one body's."""
    detections_recovered: float
    """Of the findable bodies' detections, the share that is in a pure link."""
    split_objects: int
    """Bodies with more than one pure link."""
    reused_detections: int
    """Detections that are in more than one link."""
    impure: tuple[int, ...]
    """Index of the links that are not pure."""

    @property
    def purity(self) -> float:
        """Share of the links that are pure; NaN without links."""
        return self.pure / self.links if self.links else float("nan")

    def lines(self) -> list[str]:
        """Return the score as lines for people."""
        by_class = [f"{name} {c.found}/{c.findable} = {100 * c.completeness:.2f} %" for name, c in self.classes.items()]
        return [
            "  ".join(by_class),
            f"pure {self.pure}/{self.links} = {100 * self.purity:.2f} %  recovered {100 * self.detections_recovered:.2f} %"
            f"  split {self.split_objects}  reused {self.reused_detections}",
        ]


def score_links(
    links: Sequence[Iterable[int]],
    detections: NDArray[np.void],
    true_detections: NDArray[np.void],
    true_objects: NDArray[np.void],
) -> LinkingScore:
    """Judge links, each a collection of detection_id.

    A body is found when a link that is all its own holds three nights with two detections each (``findable.good_nights``).

    Parameters
    ----------
    detections, true_detections
        Row by row the same detections.
    """
    members = [np.unique(np.fromiter(link, np.int64)) for link in links]
    number = np.repeat(np.arange(len(members)), [len(link) for link in members])
    row = _rows(np.concatenate([*members, np.zeros(0, np.int64)]), detections["detection_id"])
    owner = true_detections["object_id"][row]
    owners = [np.unique(part) for part in np.split(owner, np.cumsum([len(m) for m in members])[:-1])] if members else []
    pure_owner = np.array([o[0] if len(o) == 1 and o[0] > 0 else -1 for o in owners], np.int64)
    groups, nights = good_nights(number, detections[row])
    long_enough = np.zeros(len(members), bool)
    long_enough[groups[nights >= MIN_NIGHTS]] = True
    held = row[pure_owner[number] > 0] if len(row) else row
    findable = true_objects["object_id"][true_objects["findable"]]
    wanted = np.isin(true_detections["object_id"], findable)
    own_links = np.unique(pure_owner[pure_owner > 0], return_counts=True)[1]
    return LinkingScore(
        classes=_classes(np.unique(pure_owner[long_enough & (pure_owner > 0)]), true_objects),
        links=len(members),
        pure=int((pure_owner > 0).sum()),
        detections_recovered=float(wanted[np.unique(held)].sum() / wanted.sum()) if wanted.any() else float("nan"),
        split_objects=int((own_links > 1).sum()),
        reused_detections=int((np.unique(row, return_counts=True)[1] > 1).sum()),
        impure=tuple(int(k) for k in np.flatnonzero(pure_owner < 0)),
    )


def _rows(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.intp]:
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, ids, sorter=order), max(len(known) - 1, 0))
    found = order[place] if len(known) else place
    if not np.array_equal(known[found] if len(known) else known, ids):
        raise KeyError("A link has a detection that is not in the survey.")
    return np.asarray(found)


def _classes(found: NDArray[np.int64], true_objects: NDArray[np.void]) -> dict[str, ClassScore]:
    scores = {}
    for number, name in enumerate(CLASSES):
        own = true_objects["object_id"][(true_objects["object_class"] == number) & true_objects["findable"]]
        missed = np.setdiff1d(own, found)
        scores[name] = ClassScore(findable=len(own), found=len(own) - len(missed), missed=tuple(map(int, missed)))
    return scores
