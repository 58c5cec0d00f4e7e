"""What the judge counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from judge.llm import Usage


class Metrics:
    """One set of counters for each process; a registry of its own keeps tests apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.configured = Gauge(
            "rankloop_judge_configured", "1 when there is an LLM to ask", registry=self.registry
        )
        self.verdicts = Counter(
            "rankloop_judge_verdicts", "Verdicts posted as feedback", registry=self.registry
        )
        self.failures = Counter(
            "rankloop_judge_failures",
            "Tasks given back without a verdict",
            registry=self.registry,
        )
        self.service_errors = Counter(
            "rankloop_judge_service_errors",
            "Calls to the service that failed",
            registry=self.registry,
        )
        self.tokens = Counter(
            "rankloop_judge_tokens",
            "Tokens that the LLM counted",
            ["kind"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "rankloop_judge_verdict_seconds",
            "From the lease to the verdict",
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100),
            registry=self.registry,
        )

    def count_tokens(self, usage: Usage) -> None:
        self.tokens.labels("prompt").inc(usage.prompt_tokens or 0)
        self.tokens.labels("completion").inc(usage.completion_tokens or 0)
