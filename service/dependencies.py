"""What a route may ask for, as annotated types.

All are coroutines, though few wait for anything: FastAPI takes a function to a thread, which costs more than they do.
"""

from typing import Annotated, Final, TypeAlias

from fastapi import Depends, Request, Security
from fastapi.params import Depends as Dependency
from fastapi.security import APIKeyHeader
from sqlalchemy.ext.asyncio import AsyncEngine

from service.callers import Caller
from service.metrics import Metrics
from service.parts import Parts
from service.rerank import Reranker
from service.settings import ServiceSettings


async def the_parts(request: Request) -> Parts:
    parts = request.app.state.parts
    if not isinstance(parts, Parts):
        raise TypeError("the app was not started")
    return parts


TheParts: TypeAlias = Annotated[Parts, Depends(the_parts)]


async def the_settings(parts: TheParts) -> ServiceSettings:
    return parts.settings


async def the_engine(parts: TheParts) -> AsyncEngine:
    return parts.engine


async def the_metrics(parts: TheParts) -> Metrics:
    return parts.metrics


async def the_reranker(parts: TheParts) -> Reranker:
    return parts.reranker


async def the_secret(parts: TheParts) -> bytes:
    """What signs decision ids and the pointer."""
    return parts.secret


_AUTHORIZATION: Final = APIKeyHeader(
    name="Authorization",
    scheme_name="key",
    description="A key, after `Bearer` or alone.",
    auto_error=False,
)


async def the_caller(
    parts: TheParts, authorization: Annotated[str | None, Security(_AUTHORIZATION)]
) -> Caller:
    """Who asks.  Raises `Unauthorized`."""
    return await parts.callers.of(authorization)


TheCaller: TypeAlias = Annotated[Caller, Depends(the_caller)]


async def the_tenant(caller: TheCaller) -> str:
    """It comes from the key of the caller, never from the body."""
    return caller.tenant


def needs(*scopes: str) -> Dependency:
    """What a route is declared with: the caller has one of these scopes, or is refused."""

    async def admitted(caller: TheCaller) -> None:
        caller.must_have_one_of(scopes)

    return Dependency(admitted)


TheSettings: TypeAlias = Annotated[ServiceSettings, Depends(the_settings)]
TheEngine: TypeAlias = Annotated[AsyncEngine, Depends(the_engine)]
TheMetrics: TypeAlias = Annotated[Metrics, Depends(the_metrics)]
TheReranker: TypeAlias = Annotated[Reranker, Depends(the_reranker)]
TheSecret: TypeAlias = Annotated[bytes, Depends(the_secret)]
TheTenant: TypeAlias = Annotated[str, Depends(the_tenant)]
