"""`python -m bench.serving.overhead`: the whole service beside nothing but `session.run` on the same micro-batches.

1. throughput   four callers of 50 documents in a closed loop; blocks of both alternate
2. idle         requests of 10 documents with nothing else going on, each scored by both, and where the difference goes
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

import httpx
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench.serving import peers, results, stack, versions
from bench.serving.measures import bootstrap, throughput
from bench.serving.stack import Stack
from bench.serving.texts import Texts
from bench.serving.traffic import Closed, Fixed, Generator, generator
from contract.artifact import MANIFEST, Manifest
from contract.first_stage import features
from contract.tokens import Pair, pad
from service import device
from service.backlog import Ticket
from service.batching import Job, next_batch
from service.score import Scorer
from service.settings import Device

logger = logging.getLogger("bench.serving.overhead")

CALLERS: Final = 4
DOCUMENTS: Final = 50
SMALL: Final = 10
SETTLING_S: Final = 2.0
PAUSE_S: Final = 0.05
"""Before each turn of an idle service, so that it is idle."""
WARM: Final = 5

RERANK: Final = "/v1/rerank"
REQUEST: Final = "rankloop_request_seconds"
INFERENCE: Final = "rankloop_inference_seconds"

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
"""Of one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """A session as the service opens it, with nothing around it."""

    scorer: Scorer
    session: onnxruntime.InferenceSession
    budget_tokens: int

    @classmethod
    def load(cls, version: Path, precision: str) -> "Bare":
        manifest = Manifest.of_json((version / MANIFEST).read_bytes())
        runtime = device.choose(Device.CPU, threads=0)
        scorer = Scorer.load(version, manifest, precision=precision, runtime=runtime)
        return cls(
            scorer=scorer,
            session=runtime.session(str(version / manifest.variants[precision].file)),
            budget_tokens=runtime.batch_tokens,
        )

    def batches(self, requests: Sequence[tuple[str, Sequence[str]]]) -> list[Inputs]:
        """What the service runs when these come together."""
        return list(
            batches_of(
                self.scorer,
                [self.scorer.tokenizer.pairs(query, texts) for query, texts in requests],
                budget_tokens=self.budget_tokens,
            )
        )

    def seconds(self, batches: Sequence[Inputs]) -> float:
        began_at = time.perf_counter()
        for inputs in batches:
            self.session.run(None, inputs)
        return time.perf_counter() - began_at


def batches_of(
    scorer: Scorer, requests: Sequence[Sequence[Pair]], *, budget_tokens: int
) -> Iterator[Inputs]:
    """The service's own micro-batches, padded."""
    waiting = [
        Job(
            scorer=scorer,
            pairs=pairs,
            first_stage=features([None] * len(pairs)),
            ticket=Ticket(scorer=scorer, tokens=sum(len(pair.ids) for pair in pairs)),
        )
        for pairs in requests
    ]
    while waiting:
        batch = next_batch(waiting, budget_tokens=budget_tokens)
        padded = pad([job.pairs[index] for job, index in batch], pad_id=scorer.manifest.pad_id)
        yield {
            "input_ids": padded.input_ids,
            "attention_mask": padded.attention_mask,
            "first_stage": np.stack([job.first_stage[index] for job, index in batch]),
            **({"token_type_ids": padded.token_type_ids} if scorer.manifest.token_type_ids else {}),
        }


def closed(service: Stack, bare: Bare, asking: Generator, *, options: "Options") -> dict[str, Any]:
    """Documents a second of both; of the service, requests that ended after it had settled."""
    blocks: list[tuple[float, float]] = []
    client_cores, service_cores = [], []
    for number in range(options.blocks):
        load = Closed(
            shape=Fixed(documents=DOCUMENTS),
            callers=CALLERS,
            seconds=options.seconds,
            seed=number,
            data=options.data,
        )
        # Whoever comes first, comes second the next time.
        if number % 2:
            alone = _bare_rate(bare, load)
        with results.cores_used(service.pid) as cores:
            outcome = asking.start_closed(service.url, load).result()
        if not number % 2:
            alone = _bare_rate(bare, load)
        whole = throughput(outcome.answers, since_s=SETTLING_S, until_s=load.seconds)
        logger.info("service %.1f documents/s, bare %.1f", whole, alone)
        blocks.append((whole, alone))
        client_cores.append(outcome.client_cores)
        service_cores.append(cores())
    low, high = bootstrap(blocks, share)
    return {
        "blocks": len(blocks),
        "service_documents_per_s": round(median(whole for whole, _ in blocks), 1),
        "bare_documents_per_s": round(median(alone for _, alone in blocks), 1),
        "share": round(share(blocks), 4),
        "share_95": [round(low, 4), round(high, 4)],
        "service_cores": round(median(service_cores), 3),
        "client_cores": round(median(client_cores), 3),
    }


def share(blocks: Sequence[tuple[float, float]]) -> float:
    """What the service reaches of the bare rate, over blocks of both rates.

    >>> share([(90.0, 100.0), (95.0, 100.0)])
    0.925
    """
    return sum(whole for whole, _ in blocks) / sum(alone for _, alone in blocks)


def _bare_rate(bare: Bare, load: Closed) -> float:
    """Of the same texts: as many requests at once as there are callers."""
    texts = Texts(load.seed, load.data)
    documents, seconds = 0, 0.0
    while seconds < load.seconds - SETTLING_S:
        wave = [texts.request(DOCUMENTS, None) for _ in range(load.callers)]
        seconds += bare.seconds(bare.batches(wave))
        documents += DOCUMENTS * load.callers
    return documents / seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """One small request of an idle service, in seconds."""

    whole: float
    """What its caller waited."""
    inside: float
    """From the first to the last line of the service's middleware."""
    inference: float
    """Runs of the model in the service, padding included."""
    tokens: float
    """Tokenising it once more, here."""
    bare: float
    """The same micro-batches without the service."""

    def parts(self) -> dict[str, float]:
        """Where the difference goes; they add up to it."""
        return {
            "client, sockets and HTTP": self.whole - self.inside,
            "tokens": self.tokens,
            "JSON, decision and log": self.inside - self.inference - self.tokens,
            "inference, beside bare": self.inference - self.bare,
        }


def idle(service: Stack, bare: Bare, *, options: "Options") -> dict[str, Any]:
    texts = Texts(1_000, options.data)
    with httpx.Client(timeout=peers.ASK_S, trust_env=False) as client:
        found = [_idle(service, bare, client, texts) for _ in range(WARM + options.requests)]
    return summary(found[WARM:])


def summary(found: Sequence[Idle]) -> dict[str, Any]:
    """Medians, in milliseconds."""
    low, high = bootstrap(found, _added)
    parts = [each.parts() for each in found]
    return {
        "requests": len(found),
        "documents": SMALL,
        "service_ms": _ms(median(each.whole for each in found)),
        "bare_ms": _ms(median(each.bare for each in found)),
        "added_ms": _ms(_added(found)),
        "added_ms_95": [_ms(low), _ms(high)],
        "parts_ms": {name: _ms(median(each[name] for each in parts)) for name in parts[0]},
    }


def _idle(service: Stack, bare: Bare, client: httpx.Client, texts: Texts) -> Idle:
    query, documents = texts.request(SMALL, None)
    rank = peers.over_http(client, f"{service.url}{RERANK}", score="model_score")
    before = _sums(client, service)
    time.sleep(PAUSE_S)
    whole = rank(query, documents).seconds
    after = _sums(client, service)
    time.sleep(PAUSE_S)
    began_at = time.perf_counter()
    bare.scorer.tokenizer.pairs(query, documents)
    tokens = time.perf_counter() - began_at
    return Idle(
        whole=whole,
        inside=after[REQUEST] - before[REQUEST],
        inference=after[INFERENCE] - before[INFERENCE],
        tokens=tokens,
        bare=bare.seconds(bare.batches([(query, documents)])),
    )


def _sums(client: httpx.Client, service: Stack) -> dict[str, float]:
    """Seconds that the service has spent so far, by its own metrics."""
    return sums(client.get(f"{service.url}/metrics").raise_for_status().text)


def sums(metrics: str) -> dict[str, float]:
    """Of each histogram that we ask for."""
    samples = [
        sample
        for family in text_string_to_metric_families(metrics)
        if family.name in {REQUEST, INFERENCE}
        for sample in family.samples
        if sample.labels.get("route", RERANK) == RERANK
    ]
    return {
        name: sum(sample.value for sample in samples if sample.name == f"{name}_sum")
        for name in (REQUEST, INFERENCE)
    }


def _added(found: Sequence[Idle]) -> float:
    return median(each.whole - each.bare for each in found)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    blocks: int
    seconds: float
    """Of a block."""
    requests: int
    data: Path | None


def measured(precision: str, options: Options) -> dict[str, Any]:
    version = versions.real().first
    with ExitStack() as running:
        service = running.enter_context(stack.running(version, precision=precision))
        bare = Bare.load(version, service.precision())
        asking = running.enter_context(generator())
        return {
            "precision": service.precision(),
            "idle": idle(service, bare, options=options),
            "throughput": closed(service, bare, asking, options=options),
        }


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="blocks of each")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a block")
    parser.add_argument("--requests", type=int, default=200, help="of an idle service")
    arguments = parser.parse_args()
    options = Options(
        blocks=arguments.rounds,
        seconds=arguments.seconds,
        requests=arguments.requests,
        data=arguments.data,
    )
    found = measured(arguments.precision, options)
    logger.info("%s", found)
    results.write("overhead", found, options=arguments)


if __name__ == "__main__":
    main()
