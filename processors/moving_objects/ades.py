"""Observations in the Astrometry Data Exchange Standard, version of 2022: written, read, and checked beyond its schema.

A document is text in cells, as read or as made by `optical_block`, so that PSV to XML to PSV gives the same bytes. The
schema does not know which observatories, modes, catalogues and bands there are; `check` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from processors.errors import InputError

__all__ = [
    "COLUMNS",
    "VERSION",
    "AdesBlock",
    "AdesFormatError",
    "ContextGroup",
    "read_psv",
    "read_xml",
    "write_psv",
    "write_xml",
]

VERSION = "2022"
"""Version of the standard."""

COLUMNS = (
    "permID", "provID", "artSat", "trkSub", "obsID", "obsSubID", "mode", "stn", "prog", "obsTime", "rmsTime", "ra", "dec",
    "rmsRA", "rmsDec", "rmsCorr", "astCat", "mag", "rmsMag", "band", "photCat", "photAp", "logSNR", "seeing", "exp",
    "rmsFit", "nStars", "notes", "remarks",
)  # fmt: skip
"""Columns of an optical observation that we read and write, in the order in which they are written."""


class AdesFormatError(InputError):
    """A text is no ADES document that we can read."""

    code = "ades_format"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextGroup:
    """A group of an observation's context, such as ``observatory`` with ``mpcCode``, or a single text (``fundingSource``)."""

    name: str
    lines: tuple[tuple[str, str], ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdesBlock:
    """Optical observations with one context: a column each of ``columns``, a tuple of cells per observation, "" for none."""

    context: tuple[ContextGroup, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> list[dict[str, str]]:
        """Return the observations as dictionaries of what is there."""
        return [{name: cell for name, cell in zip(self.columns, row, strict=True) if cell} for row in self.rows]

    @classmethod
    def of(cls, context: Sequence[ContextGroup], records: Sequence[Mapping[str, str]]) -> AdesBlock:
        """Return a block of dictionaries: columns in the order of the standard, those empty everywhere left out."""
        there = {name for record in records for name, cell in record.items() if cell}
        if unknown := sorted(there - set(COLUMNS)):
            raise AdesFormatError(f"ADES columns {unknown} are not those of optical observations that we know.")
        columns = tuple(name for name in COLUMNS if name in there)
        rows = tuple(tuple(record.get(name, "") for name in columns) for record in records)
        return cls(context=tuple(context), columns=columns, rows=rows)


def write_psv(blocks: Sequence[AdesBlock]) -> str:
    """Return a document as pipe-separated values, cells without padding."""
    lines = [f"# version={VERSION}"]
    for block in blocks:
        for group in block.context:
            lines.append(f"# {group.name} {group.text}".rstrip())
            lines.extend(f"! {name} {text}" for name, text in group.lines)
        lines.append("|".join(block.columns))
        lines.extend("|".join(row) for row in block.rows)
    return "\n".join(lines) + "\n"


def write_xml(blocks: Sequence[AdesBlock]) -> str:
    """Return a document as XML."""
    root = ElementTree.Element("ades", version=VERSION)
    for block in blocks:
        element = ElementTree.SubElement(root, "obsBlock")
        context = ElementTree.SubElement(element, "obsContext")
        for group in block.context:
            parent = ElementTree.SubElement(context, group.name)
            parent.text = group.text or None
            for name, text in group.lines:
                ElementTree.SubElement(parent, name).text = text
        data = ElementTree.SubElement(element, "obsData")
        for record in block.records():
            optical = ElementTree.SubElement(data, "optical")
            for name, cell in record.items():
                ElementTree.SubElement(optical, name).text = cell
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def read_xml(text: str) -> tuple[AdesBlock, ...]:
    """Read an XML document.

    Raises
    ------
    AdesFormatError
        If it is not well-formed, not ADES of 2022, or has other than optical observations.
    """
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        raise AdesFormatError(f"This is not well-formed XML: {error}.") from error
    if root.tag != "ades" or root.get("version") != VERSION:
        raise AdesFormatError(f"The document is {root.tag} {root.get('version')}, not ades {VERSION}.")
    return tuple(_xml_block(element) for element in root)


def _xml_block(element: ElementTree.Element) -> AdesBlock:
    context, data = element.find("obsContext"), element.find("obsData")
    if element.tag != "obsBlock" or context is None or data is None:
        raise AdesFormatError(f"An obsBlock with obsContext and obsData was expected, not {element.tag}.")
    groups = tuple(
        ContextGroup(
            name=group.tag,
            lines=tuple((line.tag, (line.text or "").strip()) for line in group),
            text=(group.text or "").strip(),
        )
        for group in context
    )
    if others := sorted({child.tag for child in data} - {"optical"}):
        raise AdesFormatError(f"Observations of the kind {others[0]} are not read: optical ones only.")
    return AdesBlock.of(groups, [{cell.tag: (cell.text or "").strip() for cell in row} for row in data])


def read_psv(text: str) -> tuple[AdesBlock, ...]:
    """Read pipe-separated values; padding of cells is dropped.

    Raises
    ------
    AdesFormatError
        With the number of the line that cannot be read.
    """
    reader = _PsvReader()
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            reader.take(number, line.strip())
    return reader.finished()


class _PsvReader:
    """What is known of a document after some of its lines."""

    def __init__(self) -> None:
        self._blocks: list[AdesBlock] = []
        self._groups: list[ContextGroup] = []
        self._columns: list[str] | None = None
        self._records: list[dict[str, str]] = []

    def take(self, number: int, line: str) -> None:
        """Read one line."""
        if line.startswith("#"):
            self._open(number, line[1:].strip())
        elif line.startswith("!"):
            self._add(number, line[1:].strip())
        else:
            self._cells(number, [cell.strip() for cell in line.split("|")])

    def finished(self) -> tuple[AdesBlock, ...]:
        """Return all blocks."""
        self._close()
        return tuple(self._blocks)

    def _close(self) -> None:
        if self._records:
            self._blocks.append(AdesBlock.of(self._groups, self._records))
            self._groups, self._records, self._columns = [], [], None

    def _open(self, number: int, rest: str) -> None:
        if rest.startswith("version"):
            if rest.replace(" ", "") != f"version={VERSION}":
                raise AdesFormatError(f"Line {number} says {rest}: only version {VERSION} is read.")
            return
        self._close()
        name, _, text = rest.partition(" ")
        self._groups.append(ContextGroup(name=name, text=text.strip()))

    def _add(self, number: int, rest: str) -> None:
        if not self._groups:
            raise AdesFormatError(f"Line {number} begins with ! before any # line.")
        name, _, text = rest.partition(" ")
        last = self._groups[-1]
        self._groups[-1] = ContextGroup(name=last.name, lines=(*last.lines, (name, text.strip())), text=last.text)

    def _cells(self, number: int, cells: list[str]) -> None:
        if "obsTime" in cells:
            self._columns = cells
            return
        if self._columns is None:
            raise AdesFormatError(f"Line {number} has observations before a line with the names of columns.")
        if len(cells) != len(self._columns):
            raise AdesFormatError(f"Line {number} has {len(cells)} cells for {len(self._columns)} columns.")
        self._records.append(dict(zip(self._columns, cells, strict=True)))
