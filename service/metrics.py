"""What the service counts; one registry for each app, so that two in one process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Names are part of the interface: dashboards and the trainer's checks read them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "rankloop_requests", "Answered requests", ["route", "status"], registry=registry
        )
        self.request_s = Histogram(
            "rankloop_request_seconds",
            "Time to answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.pairs = Counter("rankloop_pairs", "Pairs scored", ["precision"], registry=registry)
        self.token_cache_hits = Counter(
            "rankloop_token_cache_hits",
            "Documents whose tokens were known already",
            registry=registry,
        )
        self.token_cache_misses = Counter(
            "rankloop_token_cache_misses", "Documents that were tokenised", registry=registry
        )
        self.token_cache_bytes = Gauge(
            "rankloop_token_cache_bytes", "Tokens that are kept, in bytes", registry=registry
        )
        self.inference_s = Histogram(
            "rankloop_inference_seconds", "One run", buckets=_SECONDS, registry=registry
        )
        self.queued_tokens = Gauge(
            "rankloop_queued_tokens", "Tokens that wait for a score", registry=registry
        )
        self.expected_wait_s = Gauge(
            "rankloop_expected_wait_seconds",
            "How long all that waits for a score will take",
            registry=registry,
        )
        self.overloaded = Counter(
            "rankloop_overloaded", "Requests refused with 429 on arrival", registry=registry
        )
        self.expired = Counter(
            "rankloop_expired",
            "Requests refused with 429 that waited beyond their deadline",
            registry=registry,
        )
        self.terminated = Counter(
            "rankloop_terminated", "Runs ended because every client had left", registry=registry
        )
        self.abandoned = Counter(
            "rankloop_abandoned", "Requests whose client left before the answer", registry=registry
        )
        self.spans_left_out = Counter(
            "rankloop_spans_left_out",
            "Spans of traces that had said too much already",
            registry=registry,
        )
        self.answers = Counter(
            "rankloop_answers", "Rankings by who answered", ["line", "arm"], registry=registry
        )
        self.failed = Counter(
            "rankloop_failed", "Rankings that a model failed", ["line", "arm"], registry=registry
        )
        self.failures_dropped = Counter(
            "rankloop_failures_dropped", "Failures that no canary is judged by", registry=registry
        )
        self.explored = Counter(
            "rankloop_decisions_explored", "Decisions that explored", ["line"], registry=registry
        )
        self.not_learnable = Counter(
            "rankloop_decisions_not_learnable",
            "Decisions that never train",
            ["reason"],
            registry=registry,
        )
        self.logged = Counter(
            "rankloop_decisions_logged", "Decisions stored in Postgres", registry=registry
        )
        self.dropped = Counter(
            "rankloop_decisions_dropped",
            "Decisions answered and not stored",
            ["reason"],
            registry=registry,
        )
        self.waiting_bytes = Gauge(
            "rankloop_decisions_waiting_bytes", "Decisions that wait, in bytes", registry=registry
        )
        self.swaps = Counter(
            "rankloop_swaps",
            "Versions offered to this replica",
            ["line", "outcome"],
            registry=registry,
        )
        self.epoch = Gauge("rankloop_epoch", "Epoch served", ["line"], registry=registry)
        self.canary_share = Gauge(
            "rankloop_canary_share",
            "Share of units that this replica gives to a canary, 0 without one",
            ["line"],
            registry=registry,
        )
        self.hold_back_share = Gauge(
            "rankloop_hold_back_share",
            "Share of units that this replica holds back for the base, 0 without one",
            ["line"],
            registry=registry,
        )
        self.healed = Counter(
            "rankloop_pointer_healed",
            "Times Redis was behind Postgres and was told",
            ["line"],
            registry=registry,
        )
