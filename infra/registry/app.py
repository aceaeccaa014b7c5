"""The registry over HTTP: Confluent's paths, answers and error codes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from infra.errors import RegistryRefusedError
from infra.registry.service import RegistryService
from infra.registry.store import Registered, Submission
from schemas.errors import NightcastError

__all__ = ["create_app", "LevelBody", "ModeBody", "RegistryResponse", "SchemaBody"]

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
Deleted = Annotated[bool, Query()]


class RegistryResponse(JSONResponse):
    """JSON under the registry's own media type."""

    media_type = MEDIA_TYPE


class SchemaBody(BaseModel):
    """Body of a registration, a lookup or a check."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    text: str = Field(alias="schema")
    schema_type: str = Field(default="AVRO", alias="schemaType")
    references: list[dict[str, Any]] = Field(default_factory=list)
    id: int | None = None
    version: int | None = None

    def submission(self) -> Submission:
        """Return the schema as the store takes it."""
        if self.schema_type != "AVRO":
            raise RegistryRefusedError(f"Schema type {self.schema_type} is not kept here; only AVRO is.")
        identifier = self.id if self.id is not None and self.id > 0 else None
        return Submission(
            schema=self.text, references=tuple(self.references), identifier=identifier, version=self.version
        )


class LevelBody(BaseModel):
    """Body that sets a compatibility level."""

    compatibility: str


class ModeBody(BaseModel):
    """Body that sets a mode."""

    mode: str


def create_app(service: RegistryService) -> FastAPI:
    """Make the web application of a registry."""
    app = FastAPI(title="Nightcast schema registry", default_response_class=RegistryResponse)
    for router in (_schemas(service), _subjects(service), _compatibility(service), _config(service), _mode(service)):
        app.include_router(router)
    app.add_exception_handler(RegistryRefusedError, _refused)
    app.add_exception_handler(NightcastError, _failed)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_such_path)

    @app.get("/")
    def root() -> dict[str, str]:
        return {}

    return app


def _schemas(service: RegistryService) -> APIRouter:
    router, store = APIRouter(prefix="/schemas"), service.store

    @router.get("/types")
    def types() -> list[str]:
        return ["AVRO"]

    @router.get("/ids/{identifier}")
    def by_id(identifier: int, subject: str | None = None) -> dict[str, Any]:
        return _by_id(store.by_id(identifier, subject))

    @router.get("/ids/{identifier}/schema")
    def text(identifier: int, subject: str | None = None) -> Response:
        return Response(store.by_id(identifier, subject).schema, media_type=MEDIA_TYPE)

    @router.get("/ids/{identifier}/subjects")
    def subjects(identifier: int, deleted: Deleted = False) -> list[str]:
        return sorted({item.subject for item in store.places(identifier, deleted=deleted)})

    @router.get("/ids/{identifier}/versions")
    def versions(identifier: int, deleted: Deleted = False) -> list[dict[str, Any]]:
        return [
            {"subject": item.subject, "version": item.version} for item in store.places(identifier, deleted=deleted)
        ]

    return router


def _subjects(service: RegistryService) -> APIRouter:
    router, store = APIRouter(prefix="/subjects"), service.store

    @router.get("")
    def subjects(deleted: Deleted = False) -> list[str]:
        return store.subjects(deleted=deleted)

    @router.get("/{subject}/versions")
    def versions(subject: str, deleted: Deleted = False) -> list[int]:
        return store.versions(subject, deleted=deleted)

    @router.get("/{subject}/versions/{version}")
    def version(subject: str, version: str, deleted: Deleted = False) -> dict[str, Any]:
        return _version(store.version(subject, version, deleted=deleted))

    @router.get("/{subject}/versions/{version}/schema")
    def text(subject: str, version: str, deleted: Deleted = False) -> Response:
        return Response(store.version(subject, version, deleted=deleted).schema, media_type=MEDIA_TYPE)

    @router.post("/{subject}/versions")
    def register(subject: str, body: SchemaBody) -> dict[str, Any]:
        item = service.register(subject, body.submission())
        return {"id": item.identifier, "version": item.version, "schemaType": "AVRO", "schema": item.schema}

    @router.post("/{subject}")
    def lookup(subject: str, body: SchemaBody, deleted: Deleted = False) -> dict[str, Any]:
        return _version(store.lookup(subject, body.submission(), deleted=deleted))

    @router.delete("/{subject}/versions/{version}")
    def delete_version(subject: str, version: str, permanent: bool = False) -> int:
        return service.delete(subject, version, permanent=permanent)[0]

    @router.delete("/{subject}")
    def delete_subject(subject: str, permanent: bool = False) -> list[int]:
        return service.delete(subject, permanent=permanent)

    return router


def _compatibility(service: RegistryService) -> APIRouter:
    router, store = APIRouter(prefix="/compatibility/subjects"), service.store

    @router.post("/{subject}/versions/{version}")
    def one(subject: str, version: str, body: SchemaBody, verbose: bool = False) -> dict[str, Any]:
        return _verdict(store.check(subject, body.submission(), version), verbose=verbose)

    @router.post("/{subject}/versions")
    def every(subject: str, body: SchemaBody, verbose: bool = False) -> dict[str, Any]:
        return _verdict(store.check(subject, body.submission()), verbose=verbose)

    return router


def _config(service: RegistryService) -> APIRouter:
    router, store = APIRouter(prefix="/config"), service.store

    @router.get("")
    def get_global() -> dict[str, str]:
        return {"compatibilityLevel": store.level()}

    @router.put("")
    def put_global(body: LevelBody) -> dict[str, str]:
        service.set_level(None, body.compatibility)
        return {"compatibility": body.compatibility}

    @router.get("/{subject}")
    def get_subject(
        subject: str, default_to_global: Annotated[bool, Query(alias="defaultToGlobal")] = False
    ) -> dict[str, str]:
        return {"compatibilityLevel": store.level(subject, default_to_global=default_to_global)}

    @router.put("/{subject}")
    def put_subject(subject: str, body: LevelBody) -> dict[str, str]:
        service.set_level(subject, body.compatibility)
        return {"compatibility": body.compatibility}

    @router.delete("/{subject}")
    def delete_subject(subject: str) -> dict[str, str]:
        level = store.level(subject, default_to_global=False)
        service.set_level(subject, None)
        return {"compatibilityLevel": level}

    return router


def _mode(service: RegistryService) -> APIRouter:
    router, store = APIRouter(prefix="/mode"), service.store

    @router.get("")
    def get_global() -> dict[str, str]:
        return {"mode": store.mode()}

    @router.put("")
    def put_global(body: ModeBody) -> dict[str, str]:
        service.set_mode(None, body.mode)
        return {"mode": body.mode}

    @router.get("/{subject}")
    def get_subject(
        subject: str, default_to_global: Annotated[bool, Query(alias="defaultToGlobal")] = False
    ) -> dict[str, str]:
        return {"mode": store.mode(subject, default_to_global=default_to_global)}

    @router.put("/{subject}")
    def put_subject(subject: str, body: ModeBody) -> dict[str, str]:
        service.set_mode(subject, body.mode)
        return {"mode": body.mode}

    @router.delete("/{subject}")
    def delete_subject(subject: str) -> dict[str, str]:
        mode = store.mode(subject, default_to_global=False)
        service.set_mode(subject, None)
        return {"mode": mode}

    return router


def _by_id(item: Registered) -> dict[str, Any]:
    answer: dict[str, Any] = {"schema": item.schema}
    if item.references:
        answer["references"] = list(item.references)
    return answer


def _version(item: Registered) -> dict[str, Any]:
    return {"subject": item.subject, "version": item.version, "id": item.identifier, **_by_id(item)}


def _verdict(found: list[str], *, verbose: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"is_compatible": not found}
    return answer | {"messages": found} if verbose else answer


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryRefusedError)
    return _error(error.status, error.error_code, error.sentence)


async def _failed(_request: Request, error: Exception) -> Response:
    retriable = isinstance(error, NightcastError) and error.retriable
    return _error(503 if retriable else 500, 50003 if retriable else 50001, str(error))


async def _malformed(_request: Request, error: Exception) -> Response:
    return _error(422, 42201, f"The request is not understood: {error}")


async def _no_such_path(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _error(status, status, f"HTTP {status}: no such path or method.")


def _error(status: int, code: int, message: str) -> Response:
    return RegistryResponse({"error_code": code, "message": message}, status_code=status)
