"""What the trainer counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One set of counters for each process; a registry of its own keeps tests apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leader = Gauge(
            "rankloop_trainer_leader",
            "1 while this trainer holds the lease",
            registry=self.registry,
        )
        self.rewards = Counter(
            "rankloop_trainer_rewards", "Reward revisions derived", registry=self.registry
        )
        self.waiting = Gauge(
            "rankloop_trainer_waiting_decisions",
            "Decisions first rewarded since the last round",
            registry=self.registry,
        )
        self.cursor_lag = Gauge(
            "rankloop_trainer_cursor_lag_transactions",
            "Transaction ids held up by the oldest open transaction",
            registry=self.registry,
        )
        self.rounds = Counter(
            "rankloop_trainer_rounds", "Rounds ended", ["status"], registry=self.registry
        )
        self.failed_polls = Counter(
            "rankloop_trainer_failed_polls",
            "Polls that ended in an error, the database away not counted",
            registry=self.registry,
        )
        self.round_seconds = Histogram(
            "rankloop_trainer_round_seconds",
            "How long rounds take",
            buckets=(5, 15, 30, 60, 120, 300, 900, 3600),
            registry=self.registry,
        )
        self.verdicts = Counter(
            "rankloop_trainer_verdicts",
            "What the gate said of candidates",
            ["kind", "verdict"],
            registry=self.registry,
        )
        self.skipped = Counter(
            "rankloop_trainer_skipped_decisions",
            "Rewarded decisions that a round could not learn from",
            ["reason"],
            registry=self.registry,
        )
        self.epoch = Gauge(
            "rankloop_trainer_epoch", "Epoch of the line as Postgres has it", registry=self.registry
        )
        self.activations = Gauge(
            "rankloop_trainer_cached_pairs", "Pairs with activations", registry=self.registry
        )
