"""The registry's state, folded from its journal, and its decisions, as journal entries.

Entries have the form in which Confluent's registry writes ``_schemas``: a JSON key of a ``keytype`` and a JSON value, null to
remove. Nothing here knows of Kafka or HTTP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from infra.errors import RegistryRefusedError
from infra.registry.compatibility import Level, canonical, incompatibilities, parse

__all__ = ["Entry", "Registered", "SchemaStore", "Submission"]

MODES = ("READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT")
Entry = tuple[dict[str, Any], dict[str, Any] | None]
"""Key and value of a journal record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One version of a subject."""

    subject: str
    version: int
    identifier: int
    schema: str
    references: tuple[Mapping[str, Any], ...] = ()
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A schema that somebody brings."""

    schema: str
    references: tuple[Mapping[str, Any], ...] = ()
    identifier: int | None = None
    version: int | None = None


class SchemaStore:
    """What is registered. `apply` folds one entry; `decide_...` returns the entries of a change and changes nothing."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Registered]] = {}
        self._by_id: dict[int, list[tuple[str, int]]] = {}
        self._levels: dict[str | None, Level] = {}
        self._modes: dict[str | None, str] = {}

    def apply(self, key: Mapping[str, Any], value: Mapping[str, Any] | None) -> None:
        """Fold one entry of the journal. Kinds of entries that are not ours are passed over."""
        kind, subject = key.get("keytype"), key.get("subject")
        if kind == "SCHEMA":
            self._apply_schema(str(subject), int(key["version"]), value)
        elif kind == "CONFIG":
            _set(self._levels, subject, None if value is None else Level(value["compatibilityLevel"]))
        elif kind == "MODE":
            _set(self._modes, subject, None if value is None else str(value["mode"]))

    def subjects(self, *, deleted: bool = False) -> list[str]:
        """Return the subjects with a version, sorted."""
        return sorted(name for name in self._versions if self._listed(name, deleted=deleted))

    def versions(self, subject: str, *, deleted: bool = False) -> list[int]:
        """Return the numbers of a subject's versions, rising."""
        found = self._listed(subject, deleted=deleted)
        if not found:
            _refuse(404, 40401, f"Subject '{subject}' not found.")
        return [item.version for item in found]

    def version(self, subject: str, version: str | int, *, deleted: bool = False) -> Registered:
        """Return a version of a subject: a number, ``latest`` or -1."""
        numbers = self.versions(subject, deleted=deleted)
        number = numbers[-1] if str(version) in ("latest", "-1") else _version_number(version)
        if number not in numbers:
            _refuse(404, 40402, f"Version {number} not found.")
        return self._versions[subject][number]

    def by_id(self, identifier: int, subject: str | None = None) -> Registered:
        """Return the schema of an id; deleted ones too, since their data may still be read."""
        places = self._by_id.get(identifier, [])
        named = [place for place in places if subject in (None, "", place[0])] or places
        if not named:
            _refuse(404, 40403, f"Schema {identifier} not found.")
        owner, version = named[0]
        return self._versions[owner][version]

    def places(self, identifier: int, *, deleted: bool = False) -> list[Registered]:
        """Return every subject and version that has an id."""
        self.by_id(identifier)
        found = [self._versions[subject][version] for subject, version in sorted(self._by_id[identifier])]
        return [item for item in found if deleted or not item.deleted]

    def lookup(self, subject: str, submission: Submission, *, deleted: bool = False) -> Registered:
        """Return the version of a subject that is the submitted schema."""
        self.versions(subject, deleted=deleted)
        same = self._same(subject, submission, deleted=deleted)
        if same is None:
            _refuse(404, 40403, "Schema not found.")
        return same

    def level(self, subject: str | None = None, *, default_to_global: bool = True) -> Level:
        """Return the compatibility level of a subject, or the global one."""
        if subject is not None and subject not in self._levels and not default_to_global:
            _refuse(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured.")
        return self._levels.get(subject, self._levels.get(None, Level.BACKWARD))

    def mode(self, subject: str | None = None, *, default_to_global: bool = True) -> str:
        """Return the mode of a subject, or the global one."""
        if subject is not None and subject not in self._modes and not default_to_global:
            _refuse(404, 40409, f"Subject '{subject}' does not have subject-level mode configured.")
        return self._modes.get(subject, self._modes.get(None, "READWRITE"))

    def check(self, subject: str, submission: Submission, version: str | int | None = None) -> list[str]:
        """Return what forbids a schema as the next version of a subject, or beside one of its versions."""
        level = self.level(subject)
        earlier = self._listed(subject) if version is None else [self.version(subject, version)]
        return self._incompatibilities(submission, earlier, level)

    def decide_register(self, subject: str, submission: Submission) -> tuple[Registered, list[Entry]]:
        """Return the version that a schema gets under a subject, and the entries that record it (none when it is there).

        Raises
        ------
        RegistryRefusedError
            409 when it is incompatible; 42205 when the mode or a given id forbids it; 42201 when it is no Avro schema.
        """
        mode = self.mode(subject)
        same = self._same(subject, submission)
        if same is not None and submission.identifier in (None, same.identifier):
            return same, []
        if mode.startswith("READONLY"):
            _refuse(422, 42205, f"Subject {subject} is in read-only mode.")
        if mode == "IMPORT" and submission.identifier is None:
            _refuse(422, 42205, f"Subject {subject} is in import mode, which needs an id with the schema.")
        self._parse(submission)
        found = (
            [] if mode == "IMPORT" else self._incompatibilities(submission, self._listed(subject), self.level(subject))
        )
        if found:
            _refuse(409, 409, "Schema being registered is incompatible with an earlier schema: " + " | ".join(found))
        registered = Registered(
            subject=subject,
            version=self._next_version(subject, submission),
            identifier=self._identifier(submission),
            schema=submission.schema,
            references=submission.references,
        )
        return registered, [_schema_entry(registered)]

    def decide_delete(
        self, subject: str, version: str | int | None, *, permanent: bool
    ) -> tuple[list[int], list[Entry]]:
        """Return the versions that a deletion removes (all of the subject when none is named) and its entries."""
        if version is None:
            numbers = self.versions(subject, deleted=permanent)
            targets = [self._versions[subject][number] for number in numbers]
        else:
            targets = [self.version(subject, version, deleted=permanent)]
        if permanent and not all(item.deleted for item in targets):
            code = 40405 if version is None else 40407
            _refuse(404, code, f"Subject '{subject}' was not deleted first before being permanently deleted.")
        if permanent:
            entries: list[Entry] = [(_schema_key(item.subject, item.version), None) for item in targets]
        else:
            entries = [_schema_entry(dataclasses.replace(item, deleted=True)) for item in targets]
        return [item.version for item in targets], entries

    def decide_level(self, subject: str | None, level: str | None) -> list[Entry]:
        """Return the entries that set a compatibility level, or with None unset it."""
        if level is not None and level not in Level.__members__:
            _refuse(422, 42203, f"Invalid compatibility level: {level}.")
        key = {"keytype": "CONFIG", "subject": subject, "magic": 0}
        return [(key, None if level is None else {"subject": subject, "compatibilityLevel": level})]

    def decide_mode(self, subject: str | None, mode: str | None) -> list[Entry]:
        """Return the entries that set a mode, or with None unset it."""
        if mode is not None and mode not in MODES:
            _refuse(422, 42204, f"Invalid mode: {mode}.")
        key = {"keytype": "MODE", "subject": subject, "magic": 0}
        return [(key, None if mode is None else {"subject": subject, "mode": mode})]

    def _apply_schema(self, subject: str, version: int, value: Mapping[str, Any] | None) -> None:
        versions = self._versions.setdefault(subject, {})
        before = versions.pop(version, None)
        if before is not None:
            self._by_id[before.identifier].remove((subject, version))
        if value is not None:
            registered = Registered(
                subject=subject,
                version=version,
                identifier=int(value["id"]),
                schema=str(value["schema"]),
                references=tuple(value.get("references") or ()),
                deleted=bool(value.get("deleted", False)),
            )
            versions[version] = registered
            self._by_id.setdefault(registered.identifier, []).append((subject, version))

    def _listed(self, subject: str, *, deleted: bool = False) -> list[Registered]:
        versions = self._versions.get(subject, {})
        return [versions[number] for number in sorted(versions) if deleted or not versions[number].deleted]

    def _same(self, subject: str, submission: Submission, *, deleted: bool = False) -> Registered | None:
        wanted = canonical(submission.schema), submission.references
        for item in reversed(self._listed(subject, deleted=deleted)):
            if (canonical(item.schema), item.references) == wanted:
                return item
        return None

    def _next_version(self, subject: str, submission: Submission) -> int:
        taken = self._versions.get(subject, {})
        if submission.version is None or submission.version < 1:
            return max(taken, default=0) + 1
        if submission.version in taken:
            _refuse(422, 42205, f"Version {submission.version} of subject '{subject}' has another schema already.")
        return submission.version

    def _identifier(self, submission: Submission) -> int:
        wanted = canonical(submission.schema), submission.references
        holders = {number: self.by_id(number) for number in sorted(self._by_id) if self._by_id[number]}
        if submission.identifier is not None:
            holder = holders.get(submission.identifier)
            if holder is not None and (canonical(holder.schema), holder.references) != wanted:
                _refuse(422, 42205, f"Overwriting the schema with id {submission.identifier} is not permitted.")
            return submission.identifier
        for number, holder in holders.items():
            if (canonical(holder.schema), holder.references) == wanted:
                return number
        return next(number for number in range(1, len(self._by_id) + 2) if number not in self._by_id)

    def _incompatibilities(self, submission: Submission, earlier: list[Registered], level: Level) -> list[str]:
        new = self._parse(submission)
        if level is Level.NONE:
            return []
        old = [self._parse(Submission(schema=item.schema, references=item.references)) for item in earlier]
        return incompatibilities(new, old, level)

    def _parse(self, submission: Submission) -> Any:
        return parse(submission.schema, self._referenced(submission.references))

    def _referenced(self, references: tuple[Mapping[str, Any], ...]) -> list[str]:
        texts: list[str] = []
        for reference in references:
            item = self.version(str(reference["subject"]), reference["version"], deleted=True)
            texts += [text for text in (*self._referenced(item.references), item.schema) if text not in texts]
        return texts


def _set(table: dict[str | None, Any], key: str | None, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _schema_key(subject: str, version: int) -> dict[str, Any]:
    return {"keytype": "SCHEMA", "subject": subject, "version": version, "magic": 1}


def _schema_entry(item: Registered) -> Entry:
    value: dict[str, Any] = {
        "subject": item.subject,
        "version": item.version,
        "id": item.identifier,
        "schema": item.schema,
        "deleted": item.deleted,
    }
    if item.references:
        value["references"] = [dict(reference) for reference in item.references]
    return _schema_key(item.subject, item.version), value


def _version_number(version: str | int) -> int:
    try:
        number = int(version)
    except ValueError:
        number = 0
    if number < 1:
        _refuse(
            422, 42202, f"The specified version '{version}' is not a valid version id: a positive number or latest."
        )
    return number


def _refuse(status: int, code: int, message: str) -> NoReturn:
    raise RegistryRefusedError(message, status=status, error_code=code)
