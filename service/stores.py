"""What the routes that remember and look back may ask for, as annotated types."""

from typing import Annotated, TypeAlias

from fastapi import Depends
from redis.asyncio import Redis

from service.answers import Answers
from service.aside import Aside
from service.dependencies import (
    TheEngine,
    TheMetrics,
    TheParts,
    TheSecret,
    TheSettings,
    TheTenant,
)
from service.feedback import Statements
from service.flow import Flows
from service.history import History
from service.leases import Leases
from service.matching import Matching
from service.operators import Operators
from service.quarantine import Quarantines
from service.replays import Replays
from service.trace_memory import TraceMemory
from service.traces import Traces


def the_answers(
    engine: TheEngine, tenant: TheTenant, secret: TheSecret, settings: TheSettings
) -> Answers:
    return Answers(engine=engine, tenant=tenant, secret=secret, log_text=settings.service_log_text)


def the_statements(engine: TheEngine, tenant: TheTenant, secret: TheSecret) -> Statements:
    return Statements(engine=engine, tenant=tenant, secret=secret)


def the_leases(engine: TheEngine, tenant: TheTenant) -> Leases:
    return Leases(engine=engine, tenant=tenant)


def the_replays(engine: TheEngine, tenant: TheTenant) -> Replays:
    return Replays(engine=engine, tenant=tenant)


def the_history(engine: TheEngine, tenant: TheTenant, secret: TheSecret) -> History:
    return History(engine=engine, tenant=tenant, secret=secret)


def the_matching(engine: TheEngine, tenant: TheTenant) -> Matching:
    return Matching(engine=engine, tenant=tenant)


def the_flows(engine: TheEngine, tenant: TheTenant) -> Flows:
    return Flows(engine=engine, tenant=tenant)


def the_operators(engine: TheEngine) -> Operators:
    return Operators(engine=engine)


def the_quarantines(engine: TheEngine) -> Quarantines:
    return Quarantines(engine=engine)


def the_redis(parts: TheParts) -> Redis:
    return parts.redis


def the_aside(parts: TheParts) -> Aside:
    return parts.aside


TheAnswers: TypeAlias = Annotated[Answers, Depends(the_answers)]
TheStatements: TypeAlias = Annotated[Statements, Depends(the_statements)]
TheLeases: TypeAlias = Annotated[Leases, Depends(the_leases)]
TheReplays: TypeAlias = Annotated[Replays, Depends(the_replays)]
TheHistory: TypeAlias = Annotated[History, Depends(the_history)]
TheMatching: TypeAlias = Annotated[Matching, Depends(the_matching)]
TheFlows: TypeAlias = Annotated[Flows, Depends(the_flows)]
TheOperators: TypeAlias = Annotated[Operators, Depends(the_operators)]
TheQuarantines: TypeAlias = Annotated[Quarantines, Depends(the_quarantines)]
TheRedis: TypeAlias = Annotated[Redis, Depends(the_redis)]
TheAside: TypeAlias = Annotated[Aside, Depends(the_aside)]


def the_trace_memory(redis: TheRedis, tenant: TheTenant, metrics: TheMetrics) -> TraceMemory:
    return TraceMemory(redis=redis, tenant=tenant, metrics=metrics)


TheTraceMemory: TypeAlias = Annotated[TraceMemory, Depends(the_trace_memory)]


def the_traces(
    memory: TheTraceMemory, answers: TheAnswers, matching: TheMatching, aside: TheAside
) -> Traces:
    return Traces(memory=memory, answers=answers, matching=matching, aside=aside)


TheTraces: TypeAlias = Annotated[Traces, Depends(the_traces)]
