"""The loop without its network: serve, log, answer, reward, train, judge, swap; rounds as the demo has them.

Every version that was served is measured on all held-out questions: the value of its greedy order is exact.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from uuid import UUID

import numpy as np

from bench.learning.arms import Arm, Judge
from bench.learning.studio import Snapshot, Studio
from bench.learning.worlds import Floats, Question, World, value
from contract.policy import Policy, choose
from contract.records import Decision
from trainer import gate, readers, replay
from trainer.caps import UNBOUNDED, Shares
from trainer.examples import Example
from trainer.gate import Answer, Kind, Verdict
from trainer.ladder import Rung, rung
from trainer.replay import Replay, Request
from trainer.settings import TrainerSettings
from trainer.splits import Split, cluster, split
from trainer.train import Trained, climb

EPSILON: Final = 0.9
ROUND_REWARDS: Final = 750
GATE_SHARE: Final = 0.57
"""As the demo has them (docs/decisions/0006), with rounds of a little less."""
REPLAY_CALLS: Final = 2_000
"""Of a round."""
SETTINGS: Final = TrainerSettings.model_construct()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """From when on a version served, and what it is worth."""

    version: str
    since: int
    """Events before it."""
    round: int
    values: Floats
    """(Q,) of the held-out questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One arm, one seed."""

    served: list[Serving]
    rounds: list[dict[str, Any]]
    """What became of each round's candidates."""

    def at(self, events: int) -> Serving:
        """What served after so many events."""
        return [each for each in self.served if each.since <= events][-1]


@dataclass(kw_only=True)
class Loop:
    """One line of versions, its log, and what it has spent."""

    world: World
    arm: Arm
    studio: Studio
    seed: int
    champion: Snapshot
    log: list[Example] = field(default_factory=list)
    read: int = 0
    """Examples that there were at the last round."""
    born: int = 0
    """Examples when the champion was made: rows of rounds that promoted nothing are asked again."""
    spent: int = 0
    """Rounds that asked the log or a reader since the last promotion."""
    round: int = 0
    known: dict[str, float] = field(default_factory=dict)
    """Verdicts of earlier replays."""

    @classmethod
    def of(cls, world: World, arm: Arm, studio: Studio, *, seed: int) -> Self:
        return cls(world=world, arm=arm, studio=studio, seed=seed, champion=studio.start)

    @property
    def shares(self) -> Shares:
        """That nobody may exceed in what a rung learns from."""
        return UNBOUNDED

    def events(self, total: int) -> Iterator[int]:
        """Answers one question after the other; yields how many were, whenever a round is due."""
        rng = np.random.default_rng([self.seed, 1])
        order: list[int] = []
        for number in range(total):
            order = order or rng.permutation(len(self.world.train)).tolist()
            example = self.answered(self.world.train[order.pop()], number=number, rng=rng)
            if example is not None:
                self.log.append(example)
            if len(self.log) - self.read == ROUND_REWARDS:
                yield number + 1

    def answered(
        self, question: Question, *, number: int, rng: np.random.Generator
    ) -> Example | None:
        """None where nobody says how good the answer was."""
        policy = Policy(epsilon=EPSILON, temperature=self.champion.temperature)
        logits = self.champion.logits(question.query, question.candidates)
        choice = choose(logits, policy, rng, top_n=self.world.used)
        outcome = self.world.outcome(question, choice.shown.tolist())
        reward = self.world.noise.seen(outcome.reward, rng)
        if reward is None:
            return None
        return Example(
            decision=Decision(
                id=UUID(int=number),
                tenant="bench",
                line="default",
                query=question.query,
                candidates=question.candidates,
                logits=logits,
                policy=policy,
                choice=choice,
                version=self.champion.version,
                epoch=self.round,
                precision=self.champion.precision,
            ),
            used=len(choice.shown),
            reward=reward,
            credits={},
            cited=frozenset() if outcome.cited is None else frozenset([outcome.cited]),
            query_sha256=hashlib.sha256(question.query.encode()).digest(),
            fresh=True,
            reader=self.world.reader,
        )

    def learn(self) -> dict[str, Any]:
        """One round; what became of it."""
        self.round += 1
        sides = self.split()
        candidates = list(self.candidates(sides))
        snapshots = [
            self.studio.snapshot(f"{self.round}/{each.capacity}", each.state) for each in candidates
        ]
        found = [
            self.judged(snapshot, each, sides.gate, candidates=len(candidates))
            for snapshot, each in zip(snapshots, candidates, strict=True)
        ]
        self.read = len(self.log)
        self.spent += any(one.kind in {Kind.OFFLINE, Kind.REPLAY} for each in found for one in each)
        passed = [at for at, one in enumerate(found) if one[-1].answer is Answer.PASS]
        if passed:
            best = max(passed, key=lambda at: found[at][-1].low or 0.0)
            self.champion, self.spent, self.born = snapshots[best], 0, len(self.log)
        return {
            "round": self.round,
            "candidates": [each.capacity.value for each in candidates],
            "promoted": self.champion.version if passed else None,
            "verdicts": [_told(one[-1]) for one in found],
        }

    def split(self) -> Split:
        read = [_as_read(each, fresh=at >= self.born) for at, each in enumerate(self.log)]
        gated = self.arm.judge is not Judge.NOBODY
        return split(
            readers.of_today(read),
            champion=self.champion.version,
            tune_share=SETTINGS.trainer_tune_share,
            gate_share=GATE_SHARE if gated else 0.0,
        )

    def candidates(self, sides: Split) -> Iterator[Trained]:
        with self.studio.wearing(self.champion.state):
            yield from climb(
                self.studio.reranker,
                sides,
                rungs=rungs(self.arm),
                activations=self.studio.activations,
                golden=self.studio.golden,
                temperature=self.champion.temperature,
                seed=self.seed + self.round,
                shares=self.shares,
            )

    def judged(
        self, snapshot: Snapshot, trained: Trained, examples: Sequence[Example], *, candidates: int
    ) -> list[Verdict]:
        """As `trainer.rounds` asks, up to the first that is no pass; files aside, as there are none."""
        if self.arm.judge is Judge.NOBODY:
            return [gate.parity(1.0)]
        golden = self.studio.golden
        remembered = gate.golden(golden.ndcg(snapshot), golden.ndcg(self.champion))
        if remembered.answer is not Answer.PASS:
            return [remembered]
        alpha = gate.spent(
            SETTINGS.trainer_alpha, round_number=self.spent + 1, candidates=candidates
        )
        if self.arm.judge is Judge.REPLAY:
            return [remembered, self.replayed(snapshot, examples, alpha=alpha)]
        offline = gate.offline(
            snapshot,
            self.champion,
            examples,
            alpha=alpha,
            expected_gain=trained.tune.value,
            seed=self.seed + self.round,
        )
        return [remembered, offline]

    def replayed(self, snapshot: Snapshot, examples: Sequence[Example], *, alpha: float) -> Verdict:
        """The gate queries' readers are asked again, and judged as noisily as ever; no answer is missing."""
        requests = {
            example.query_sha256: Request(
                query=example.decision.query,
                candidates=example.decision.candidates,
                used=self.world.used,
                cluster=cluster(example.query_sha256),
            )
            for example in examples
        }
        noise = replace(self.world.noise, missing=0.0)
        rng = np.random.default_rng([self.seed, self.round, 4])

        def judged(query: str, documents: Sequence[str]) -> float:
            return noise.seen(self.world.read(query, documents), rng) or 0.0

        pairs = replay.pairs(requests.values(), champion=self.champion, candidate=snapshot)
        return gate.replay(
            Replay(pairs=pairs, value=judged, budget=REPLAY_CALLS, known=self.known), alpha=alpha
        )


def play(world: World, arm: Arm, studio: Studio, *, seed: int, events: int) -> Played:
    """The whole run; checkpoints of fewer events are prefixes of it."""
    return follow(Loop.of(world, arm, studio, seed=seed), events=events)


def follow(loop: Loop, *, events: int, judged_in: World | None = None) -> Played:
    """What it serves, and what becomes of its rounds.  judged_in: where versions are measured, if elsewhere."""
    served = [_serving(loop, judged_in or loop.world, since=0)]
    rounds = []
    for since in loop.events(events):
        rounds.append(loop.learn() | {"events": since})
        if loop.champion.version != served[-1].version:
            served.append(_serving(loop, judged_in or loop.world, since=since))
    return Played(served=served, rounds=rounds)


def rungs(arm: Arm) -> tuple[Rung, ...]:
    """Those of a trainer with the default settings, with the arm's objective, and tried on however little."""
    asked = (rung(each, SETTINGS) for each in arm.capacities)
    return tuple(
        replace(
            each,
            kls=arm.kls,
            objective=arm.objective,
            min_rewards=0,
            replay=each.replay if arm.replays else 0,
        )
        for each in asked
    )


def _serving(loop: Loop, world: World, *, since: int) -> Serving:
    orders = loop.champion.orders(world.held_out)
    return Serving(
        version=loop.champion.version,
        since=since,
        round=loop.round,
        values=value(world, [order.tolist() for order in orders]),
    )


def _as_read(example: Example, *, fresh: bool) -> Example:
    return example if example.fresh == fresh else replace(example, fresh=fresh)


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": verdict.kind.value,
        "answer": verdict.answer.value,
        "reason": verdict.reason,
        "estimate": verdict.estimate,
        "low": verdict.low,
    }
