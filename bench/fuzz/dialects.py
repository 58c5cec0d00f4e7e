"""Bodies of every dialect, nearly right and not at all, from hypothesis; and what may be said of the decisions.

A request that is answered is checked against the dialect's own schema in the OpenAPI document, and against what that
cannot say: which documents came back, and in which order.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final, TypeAlias

import jsonschema_rs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bench.fuzz.tally import Tally
from bench.fuzz.target import Target
from service import examples
from service.dialects import recognise
from service.routes.rerank import PATHS

Json: TypeAlias = Any

REPLIES: Final = {
    "objects": "RerankResponse",
    "voyage": "TopKResponse",
    "tei": "Ranks",
    "nim": "RankingResponse",
    "mixedbread": "DataResponse",
    "score": "ScoreResponse",
}
"""The schema of what each dialect answers."""
LISTS: Final = {"objects": "results", "voyage": "data", "nim": "rankings", "mixedbread": "data"}
SCORES: Final = ("relevance_score", "score", "logit")
TIMEOUT_S: Final = 60

texts = st.text(max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\ud800",
        "\udc00\ud800",
        "\ufeff",
        "é" * 300,
        "a" * 3000,
        "\u202e",
        "NaN",
        "1e999",
    ]
)
numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 2**31, 2**63, 10**400, 1e308])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
"""Anything that Python's json writes, JSON or not."""
bodies = st.sampled_from([each["value"] for each in examples.RERANK.values()])
KEYS: Final = sorted({key for each in examples.RERANK.values() for key in each["value"]} | {
    "data_1", "data_2", "explore", "kwargs", "max_chunks_per_doc", "max_tokens_per_doc", "model", "model-id",
    "raw_scores", "return_len", "return_text", "truncate_prompt_tokens", "truncation_direction",
})  # fmt: skip


@st.composite
def bent(draw: st.DrawFn, whole: st.SearchStrategy[Json], keys: Sequence[str]) -> Json:
    """A body that works, with up to three fields that something was done to."""
    body = dict(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(sorted(body) or ["query"]) | st.sampled_from(keys))
        body[key] = draw(st.builds(_bent_within, st.just(body.get(key)), values, st.integers(0, 9)))
        if draw(st.integers(0, 9)) == 0:
            del body[key]
    return body


def _bent_within(old: Json, new: Json, where: int) -> Json:
    """The value changed as a whole, or one part of it."""
    if isinstance(old, list) and old and where > 3:  # noqa: PLR2004
        return [*old[:-1], _bent_within(old[-1], new, where - 1), *([old[0]] * (where % 3))]
    if isinstance(old, dict) and old and where > 3:  # noqa: PLR2004
        names = [*sorted(old), "more"]
        key = names[where % len(names)]
        return {**old, key: new}
    return new


keys = st.none() | st.sampled_from(["a", "b"]) | st.text("kl", min_size=1, max_size=210)
raws = st.integers(0, 9).flatmap(lambda n: st.none() if n else st.binary(max_size=99))
"""Instead of a body, now and then."""


def _of(path: str, told: Mapping[str, examples.Example]) -> st.SearchStrategy[tuple[str, Json]]:
    whole = [each["value"] for each in told.values()]
    own = sorted({key for each in whole for key in each} | {"id", "used", "metadata", "supersedes"})
    return st.tuples(st.just(path), bent(st.sampled_from(whole), own))


said = st.one_of(
    _of("/v1/decisions/{}/answer", examples.ANSWER),
    _of("/v1/feedback", examples.STATEMENT),
    _of("/v1/feedback/batch", examples.BATCH),
    _of("/v1/decisions/match", examples.MATCH),
    _of("/v1/judge/lease", examples.LEASED),
    _of("/v1/judge/replays/lease", examples.REPLAYS_LEASED),
)
_PLAIN: Final = examples.RERANK["objects"]["value"]


@dataclass(slots=True, kw_only=True)
class Dialects:
    """One client with one connection."""

    target: Target
    document: Json
    tally: Tally = field(default_factory=Tally)
    _connection: HTTPConnection = field(init=False)
    _validators: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._connection = HTTPConnection(*self.target.address, timeout=TIMEOUT_S)
        self._validators = {name: self._validator(schema) for name, schema in REPLIES.items()}

    def rerank(self, path: str, body: Json, raw: bytes | None, key: str | None) -> None:
        sent = _encoded(body) if raw is None else raw
        headers = {} if key is None else {"Idempotency-Key": key}
        status, said = self.send("POST", path, sent, headers)
        if status == 200:  # noqa: PLR2004
            self._check(body, json.loads(said))

    def speak(self, path: str, body: Json) -> None:
        """Says something of a fresh decision, and looks it up."""
        status, said = self.send("POST", "/v1/rerank", _encoded(_PLAIN), {})
        if status != 200:  # noqa: PLR2004
            return
        decision_id = json.loads(said)["id"]
        # Where one of ours is named, this one is; what hypothesis put in its place stays.
        sent = _encoded(body).replace(examples.DECISION.encode(), decision_id.encode())
        self.send("POST", path.format(decision_id), sent, {})
        self.send("GET", f"/v1/decisions/{decision_id}", b"", {})

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        what = f"{method} {path} {body[:300]!r}"
        own = {"authorization": f"Bearer {self.target.key}", "content-type": "application/json"}
        try:
            response, said = self._exchange(method, path, body, own | dict(headers))
        except (OSError, HTTPException) as error:
            self._connection.close()
            self.tally.find(f"{what}: {type(error).__name__}")
            return 0, b""
        self.tally.count(response.status, said, of=what)
        return response.status, said

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
        except ConnectionError:
            # It had been idle for as long as the service keeps an idle connection.
            self._connection.close()
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
        return response, response.read()

    def close(self) -> None:
        self._connection.close()

    def _check(self, body: Json, said: Json) -> None:
        name = recognise.name_of(body)
        problems = [*self._validators[name].iter_errors(said)]
        if problems:
            self.tally.find(f"{name}: {problems[0].message} of {said!r:.300}")
        ranked = said if name == "tei" else said.get(LISTS.get(name, ""), [])
        indices = [each["index"] for each in ranked]
        scores = [each[score] for each in ranked for score in SCORES if score in each]
        if len(set(indices)) < len(indices) or any(a <= b for a, b in itertools.pairwise(scores)):
            self.tally.find(f"{name}: not a ranking: {said!r:.300}")

    def _validator(self, schema: str) -> Any:  # noqa: ANN401 -- of a compiled library
        return jsonschema_rs.validator_for(
            {
                "$ref": f"#/components/schemas/{schema}",
                "components": self.document["components"],
            }
        )


def _encoded(body: Json) -> bytes:
    return json.dumps(body).encode()


def attack(target: Target, document: Json, *, requests: int, seed_: int) -> Tally:
    """About so many requests."""
    client = Dialects(target=target, document=document)

    @seed(seed_)
    @_runs(requests * 3 // 4)
    @given(st.sampled_from(PATHS), bent(bodies, KEYS), raws, keys)
    def rerank(path: str, body: Json, raw: bytes | None, key: str | None) -> None:
        client.rerank(path, body, raw, key)

    @seed(seed_)
    @_runs(requests // 4 // 3)
    @given(said)
    def speak(said: tuple[str, Json]) -> None:
        client.speak(*said)

    with closing(client):
        rerank()
        speak()
    return client.tally


def _runs(examples: int) -> settings:
    """Nothing is tried twice or made smaller: the service remembers, and a finding is told as it was found."""
    return settings(
        max_examples=max(1, examples),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
