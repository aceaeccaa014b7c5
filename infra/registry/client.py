"""A small client of the schema registry: what our own stages and commands ask of it.

It is the `SchemaSource` of `schemas.wire`. Programs of others use the stock confluent-kafka client.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from infra.errors import RegistryRefusedError, RegistryUnavailableError
from infra.registry.compatibility import Level
from infra.retry import retried
from schemas.errors import UnknownSchemaError

__all__ = ["RegistryClient"]

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryClient:
    """Calls of a schema registry; each is tried again for a while when the registry does not answer.

    Parameters
    ----------
    url
        Address of the registry.
    patience_s
        For how long an unanswered call is repeated.
    timeout_s
        How long one attempt may take.
    """

    def __init__(self, url: str, *, patience_s: float = 15.0, timeout_s: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._patience_s = patience_s
        self._timeout_s = timeout_s

    def register(self, subject: str, schema: str, *, identifier: int | None = None, version: int | None = None) -> int:
        """Return the id of a schema under a subject, registering it where it is new.

        Parameters
        ----------
        subject
            Name of the subject.
        schema
            The schema as JSON.
        identifier, version
            The id and the version it shall have; the registry's choice when not given.

        Raises
        ------
        RegistryRefusedError
            When it is incompatible, invalid, or the id is another schema's.
        RegistryUnavailableError
            When the registry does not answer.
        """
        body: dict[str, Any] = {"schema": schema, "schemaType": "AVRO"}
        if identifier is not None:
            body["id"] = identifier
        if version is not None:
            body["version"] = version
        answer = self._call("POST", f"/subjects/{_quoted(subject)}/versions", body)
        return int(answer["id"])

    def schema(self, identifier: int) -> str:
        """Return the text of the schema of an id.

        Raises
        ------
        UnknownSchemaError
            When the registry does not know the id.
        """
        try:
            return str(self._call("GET", f"/schemas/ids/{identifier}")["schema"])
        except RegistryRefusedError as error:
            raise UnknownSchemaError(f"The registry knows no schema with id {identifier}.") from error

    def subjects(self) -> list[str]:
        """Return the names of the subjects."""
        return [str(name) for name in self._call("GET", "/subjects")]

    def versions(self, subject: str) -> list[int]:
        """Return the numbers of a subject's versions."""
        return [int(number) for number in self._call("GET", f"/subjects/{_quoted(subject)}/versions")]

    def version(self, subject: str, version: int | str = "latest") -> dict[str, Any]:
        """Return one version of a subject: subject, version, id and schema."""
        answer: dict[str, Any] = self._call("GET", f"/subjects/{_quoted(subject)}/versions/{version}")
        return answer

    def set_level(self, level: Level, subject: str | None = None) -> None:
        """Set the compatibility level of a subject, or the global one."""
        path = "/config" if subject is None else f"/config/{_quoted(subject)}"
        self._call("PUT", path, {"compatibility": level.value})

    def set_mode(self, mode: str, subject: str | None = None) -> None:
        """Set the mode of a subject, or the global one: READWRITE, READONLY or IMPORT."""
        self._call("PUT", "/mode" if subject is None else f"/mode/{_quoted(subject)}", {"mode": mode})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return retried(lambda: self._once(method, path, body), for_s=self._patience_s)

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data=data, method=method, headers={"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refusal(error, method, path) from error
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise RegistryUnavailableError(f"The schema registry {self._url} does not answer: {error}.") from error


def _quoted(subject: str) -> str:
    return urllib.parse.quote(subject, safe="")


def _refusal(error: urllib.error.HTTPError, method: str, path: str) -> RegistryRefusedError | RegistryUnavailableError:
    try:
        answer = json.loads(error.read())
    except ValueError:
        answer = {}
    if error.code >= 500:
        return RegistryUnavailableError(f"The schema registry cannot serve {path} now: {answer.get('message', error)}.")
    return RegistryRefusedError(
        f"The schema registry refused {method} {path}: {answer.get('message', error)}",
        status=error.code,
        error_code=int(answer.get("error_code", error.code)),
    )
