"""The use case: a request becomes a decision, and the decision a reply."""

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import numpy as np

from contract import first_stage, ids
from contract.artifact import TOKENIZER, Anchor
from contract.plackett_luce import Logits
from contract.pointer import Live
from contract.policy import Choice, Policy
from contract.records import Arm, Decision, Failure, NotLearnable, Span
from contract.refusals import Refusal
from contract.tokens import MIN_DOCUMENT_TOKENS, QueryTooLong
from service import feedback_token, places
from service.asked import Asked, digest, fingerprint
from service.backlog import Backlog
from service.batching import Batcher
from service.decisions import DecisionLog
from service.errors import Invalid, KeyReused
from service.explore import Explorer
from service.failures import FailureLog
from service.metrics import Metrics
from service.models import Model, Models
from service.places import Place
from service.reading import Pages, read
from service.remember import Remembered
from service.settings import ServiceSettings
from service.token_cache import TokenCache

_CHARACTERS_PER_TOKEN: Final = 4


class ScoresNotFinite(RuntimeError):
    """The model answered NaN or infinity for a pair; nothing can be ranked by that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the time of a request went."""

    tokenization_s: float
    queue_s: float
    inference_s: float


_NO_TIME: Final = Timing(tokenization_s=0.0, queue_s=0.0, inference_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the model says of a request."""

    logits: Logits
    """(n,) in request order."""
    spans: tuple[Span | None, ...]
    """(n,) the characters of each document that its logit is of; None is the text as far as it fits."""
    truncated: tuple[int, ...]
    """Request positions of documents that were cut to fit."""
    tokens: int
    timing: Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Every candidate in order: what a decision shows is a prefix of it. It outlives its model."""

    live: Live
    version: str
    arm: Arm
    anchor: Anchor
    precision: str
    scores: Scores
    policy: Policy
    choice: Choice
    not_learnable: NotLearnable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back to the caller."""

    decision: Decision
    places: tuple[Place, ...]
    """Best first."""
    truncated: tuple[int, ...]
    tokens: int
    logged: bool
    timing: Timing
    total_s: float
    feedback_token: str


class Reranker:
    """Scores, explores, logs."""

    def __init__(
        self,
        models: Models,
        settings: ServiceSettings,
        *,
        batcher: Batcher,
        log: DecisionLog,
        failures: FailureLog,
        metrics: Metrics,
        tokenizing: ThreadPoolExecutor,
        token_cache: TokenCache,
        rng: np.random.Generator,
    ) -> None:
        self._models = models
        self._secret = settings.secret.get_secret_value().encode()
        self._token_lasts = timedelta(seconds=settings.service_feedback_token_s)
        self._batcher = batcher
        self._backlog = Backlog(
            metrics,
            batcher.pace,
            max_tokens=settings.service_max_queued_tokens,
            max_wait_s=settings.service_max_wait_s,
        )
        self._explorer = Explorer(settings, rng=rng)
        self._log = log
        self._failures = failures
        self._metrics = metrics
        self._tokenizing = tokenizing
        self._token_cache = token_cache
        most, ttl_s = settings.service_repeated_documents, settings.service_repeat_s
        self._rankings = Remembered[Ranking](
            most=most, ttl_s=ttl_s, weigh=lambda ranking: len(ranking.scores.logits)
        )
        self._replies = Remembered[tuple[bytes, Reply]](
            most=most, ttl_s=ttl_s, weigh=lambda said: len(said[1].places)
        )

    async def rerank(self, asked: Asked) -> Reply:
        """The same Idempotency-Key gets the same reply.  Raises a `Refusal`."""
        if asked.request_key is None:
            return await self._reply(asked)
        body = digest([fingerprint(asked).hex(), asked.top_n, dict(asked.tags)])

        async def first() -> tuple[bytes, Reply]:
            reply = await self._reply(asked)
            # What is remembered for ten minutes holds nothing that was sent.
            bare = replace(reply.decision, query="", candidates=(), tags={})
            return body, replace(reply, decision=bare)

        key = digest([asked.tenant, asked.request_key])
        (first_body, reply), _ = await self._replies.once(key, first)
        if first_body != body:
            raise KeyReused("this Idempotency-Key came before with another body")
        return reply

    async def _reply(self, asked: Asked) -> Reply:
        start = time.perf_counter()
        decision_id = ids.mint(asked.tenant, secret=self._secret, now=datetime.now(UTC))
        session_hash = self._session_hash(asked)
        model = self._model(asked, unit=session_hash or decision_id.bytes)
        try:
            ranking, repeated = await self._ranking(asked, model)
        except Refusal:
            raise
        except Exception as error:
            self._failed(asked, model, error, decision_id=decision_id, session_hash=session_hash)
            raise
        decision = self._decision(
            asked,
            ranking,
            decision_id=decision_id,
            session_hash=session_hash,
            repeated=repeated,
            start=start,
        )
        logged = asked.log and self._log.offer(decision)
        self._count(decision)
        shown, scores = decision.choice.shown, ranking.scores
        return Reply(
            decision=decision,
            places=places.of(ranking.anchor, scores.logits, shown),
            truncated=scores.truncated,
            tokens=scores.tokens,
            logged=logged,
            timing=_NO_TIME if repeated else scores.timing,
            total_s=time.perf_counter() - start,
            feedback_token=feedback_token.mint(
                decision.id,
                decision.tenant,
                secret=self._secret,
                expires_at=datetime.now(UTC) + self._token_lasts,
            ),
        )

    def _model(self, asked: Asked, *, unit: bytes) -> Model:
        """Captured once. Of what is not remembered nobody learns how another one does: the champion answers it."""
        champion = self._models.of(asked.line)
        return champion.of(unit) if asked.log else champion

    def _failed(
        self,
        asked: Asked,
        model: Model,
        error: Exception,
        *,
        decision_id: UUID,
        session_hash: bytes | None,
    ) -> None:
        """What is no refusal is the model's failure; while there is a canary, its judges want to know."""
        live = model.live
        self._metrics.failed.labels(live.line, model.arm).inc()
        if live.canary_version is not None and asked.log:
            self._failures.offer(
                Failure(
                    decision_id=decision_id,
                    tenant=asked.tenant,
                    line=live.line,
                    session_hash=session_hash,
                    epoch=live.epoch,
                    version=model.version,
                    arm=model.arm,
                    error=type(error).__name__,
                )
            )

    async def _ranking(self, asked: Asked, model: Model) -> tuple[Ranking, bool]:
        """The ranking, and whether it was shown before: the same session, query and candidates keep their order."""
        if asked.session is None:
            return await self._rank(asked, model), False
        key = digest([fingerprint(asked).hex(), model.live.line])
        return await self._rankings.once(key, lambda: self._rank(asked, model))

    async def _rank(self, asked: Asked, model: Model) -> Ranking:
        scores = await self._scores(asked, model)
        policy, choice, reason = self._explorer.choose(
            scores.logits,
            temperature=model.scorer.variant.temperature,
            explore=asked.explore,
            now=datetime.now(UTC),
        )
        return Ranking(
            live=model.live,
            version=model.version,
            arm=model.arm,
            anchor=model.scorer.manifest.anchor,
            precision=model.scorer.precision,
            scores=scores,
            policy=policy,
            choice=choice,
            not_learnable=model.not_learnable or reason,
        )

    async def _scores(self, asked: Asked, model: Model) -> Scores:
        """The same text is scored once, with the features of its first position."""
        first_of = first_stage.first_positions(asked.candidates)
        unique = sorted(set(first_of))
        scorer, tokens = model.scorer, _estimated_tokens(asked, unique, model)
        with self._backlog.admitted(scorer, tokens, waits_until=asked.waits_until) as ticket:
            features = first_stage.of_candidates(asked.candidates)
            start = time.perf_counter()
            pages = await self._read(asked, unique, model)
            tokenization_s = time.perf_counter() - start
            scored = await self._batcher.score(
                scorer, pages.pairs, first_stage=features[unique][pages.owner], ticket=ticket
            )
        if not np.isfinite(scored.logits).all():
            raise ScoresNotFinite(model.version)
        rows = np.searchsorted(unique, first_of)
        logits, spans = pages.best(scored.logits)
        return Scores(
            logits=logits[rows],
            spans=tuple(spans[row] for row in rows),
            truncated=tuple(i for i, row in enumerate(rows) if pages.truncated[row]),
            tokens=pages.tokens,
            timing=Timing(
                tokenization_s=tokenization_s,
                queue_s=scored.queue_s,
                inference_s=scored.inference_s,
            ),
        )

    async def _read(self, asked: Asked, unique: Sequence[int], model: Model) -> Pages:
        texts = [asked.candidates[position].text for position in unique]
        scorer = model.scorer
        memory = self._token_cache.of(
            asked.tenant,
            tokenizer=scorer.manifest.files[TOKENIZER],
            max_length=scorer.manifest.max_length,
        )
        reads = partial(read, scorer.tokenizer, asked.query, texts, asked.reading, memory=memory)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._tokenizing, reads)
        except QueryTooLong as refusal:
            raise Invalid(f"query: {refusal}") from refusal

    def _decision(
        self,
        asked: Asked,
        ranking: Ranking,
        *,
        decision_id: UUID,
        session_hash: bytes | None,
        repeated: bool,
        start: float,
    ) -> Decision:
        live, choice = ranking.live, ranking.choice
        shown = choice.shown[: asked.top_n]
        return Decision(
            id=decision_id,
            tenant=asked.tenant,
            line=live.line,
            query=asked.query,
            candidates=tuple(
                replace(candidate, span=span)
                for candidate, span in zip(asked.candidates, ranking.scores.spans, strict=True)
            ),
            logits=ranking.scores.logits,
            policy=ranking.policy,
            choice=Choice(
                shown=shown,
                cum_log_propensity=choice.cum_log_propensity[: len(shown)],
                explored=choice.explored,
            ),
            version=ranking.version,
            epoch=live.epoch,
            precision=ranking.precision,
            arm=ranking.arm,
            session_hash=session_hash,
            request_key=asked.request_key,
            not_learnable=NotLearnable.REPEATED if repeated else ranking.not_learnable,
            tags=asked.tags,
            latency_ms=1000 * (time.perf_counter() - start),
        )

    def _session_hash(self, asked: Asked) -> bytes | None:
        """Keyed, so that a session's name cannot be guessed from what is stored."""
        if asked.session is None:
            return None
        said = f"session {asked.tenant} {asked.session}".encode()
        return hmac.digest(self._secret, said, hashlib.sha256)

    def _count(self, decision: Decision) -> None:
        self._metrics.answers.labels(decision.line, decision.arm).inc()
        if decision.choice.explored:
            self._metrics.explored.labels(decision.line).inc()
        if decision.not_learnable is not None:
            self._metrics.not_learnable.labels(decision.not_learnable).inc()


def _estimated_tokens(asked: Asked, unique: Sequence[int], model: Model) -> int:
    """Of a long document, all that its windows may hold; each of them has the query again."""
    longest, query = model.scorer.manifest.max_length, len(asked.query) // _CHARACTERS_PER_TOKEN
    room = max(MIN_DOCUMENT_TOKENS, longest - query)
    total = 0
    for position in unique:
        document = 1 + len(asked.candidates[position].text) // _CHARACTERS_PER_TOKEN
        document = min(document, asked.reading.max_tokens or document)
        windows = min(asked.reading.windows, math.ceil(document / room))
        total += windows * min(longest, query + document)
    return total
