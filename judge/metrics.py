"""What the judge counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from judge.opinions import Opinion
from judge.reader import Written


class Metrics:
    """One set of counters for each process; a registry of its own keeps tests apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.configured = self._gauge("configured", "1 when there is an LLM to ask")
        self.capped = self._gauge("capped", "1 while today's money is spent: nothing is leased")
        self.away = self._gauge("llm_away", "1 while the LLM is away: nothing is leased")
        self.reader_away = self._gauge(
            "reader_away", "1 while the reader is away: no replay is leased"
        )
        self.spent = self._gauge("spent_today", "Spent or set aside, in the prices' currency")
        self.breaker = self._gauge("breaker", "1 once probes fooled the judge: nothing is leased")
        self.verdicts = self._counter("verdicts", "Verdicts posted as feedback")
        self.unobserved = self._counter(
            "unobserved", "Answers of which it was posted that no verdict is to be had", "reason"
        )
        self.failures = self._counter("failures", "Opinions that the LLM did not give", "kind")
        self.replays = self._counter(
            "replays", "Replays whose value or error was posted", "purpose", "outcome"
        )
        self.reader_failures = self._counter(
            "reader_failures", "Answers that the reader did not give", "kind"
        )
        self.given_back = self._counter("given_back", "Answers and replays given back undone")
        self.service_errors = self._counter("service_errors", "Calls to the service that failed")
        self.remembered = self._counter("remembered", "Opinions and answers paid for before")
        self.tokens = self._counter("tokens", "Tokens that the LLMs counted", "kind")
        self.repeats = self._counter("repeats", "Answers judged a second time")
        self.flips = self._counter("flips", "Second verdicts on the other side of one half")
        self.probes = self._counter("probes", "Worthless texts slipped in", "attack", "outcome")
        self.latency = Histogram(
            "rankloop_judge_verdict_seconds",
            "From the lease to the verdict",
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100),
            registry=self.registry,
        )

    def count(self, said: Opinion | Written) -> None:
        """What it took."""
        if said.remembered:
            self.remembered.inc()
            return
        self.tokens.labels("prompt").inc(said.usage.prompt_tokens or 0)
        self.tokens.labels("completion").inc(said.usage.completion_tokens or 0)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"rankloop_judge_{name}", about, registry=self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"rankloop_judge_{name}", about, labels, registry=self.registry)
