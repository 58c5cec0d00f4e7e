"""A round from a file: a log that was exported teaches a version and judges it, where there is no database.

It is read, sifted, split, learned from, exported and judged as in `trainer.rounds`, by the same functions. New are the
decisions that were made by the version it starts from: all others are replayed, and judge nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic import SecretStr

from contract.store import Store
from trainer import gate, golden, judging, sifting, versions
from trainer.candidates import Candidate, Workshop
from trainer.console import Watch
from trainer.exam import newest_explored
from trainer.examples import Example, Skipped
from trainer.gate import Answer, Verdict
from trainer.golden import GoldenSet
from trainer.join import Joined
from trainer.judging import Bench
from trainer.learner import newest_first
from trainer.log_files import LogFile, LogRefused
from trainer.settings import TrainerSettings
from trainer.sifting import Sifted
from trainer.splits import Split

STEPS: Final = 20
"""In which activations are computed, for whoever waits."""


class OfflineSettings(TrainerSettings):
    """The trainer's own, without what names its neighbours."""

    database_url: str = ""
    redis_url: str = ""
    artifacts_url: str = ""
    secret: SecretStr = SecretStr("")
    cache_dir: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What shall be made of what, and how."""

    log: Path
    base: str | None
    """The version that served, by its name or its folder; None is the one that served last."""
    folder: Path
    """Receives `candidate`."""
    settings: TrainerSettings
    attempt: int
    """Which try with this log this is: the gate's level is spent over all of them."""
    seed: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A candidate and what the gate says of it."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    """In order, up to the first that is no pass."""

    @property
    def passes(self) -> bool:
        return self.verdicts[-1].answer is Answer.PASS

    @property
    def rank(self) -> tuple[bool, int, float]:
        """What passes is first, then what came further, then what has the higher lower bound."""
        low = self.verdicts[-1].low
        return self.passes, len(self.verdicts), -inf if low is None else low


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    line: str
    reference: str
    """The version that it started from."""
    decisions: int
    """That were believed and within every share."""
    skipped: Mapping[str, int]
    """The others of the file, by reason."""
    not_exported: Mapping[str, int]
    """What the file says was left out of it."""
    suspects: tuple[Mapping[str, Any], ...]
    sides: Mapping[str, int]
    """Decisions that train, tune and judge."""
    judged: tuple[Judged, ...]
    """Best first."""

    @property
    def passes(self) -> bool:
        """Whether the gate passes the first of them."""
        return bool(self.judged) and self.judged[0].passes


def run(task: Assignment, *, watch: Watch, say: Callable[[str], object]) -> Outcome:
    """Raises `LogRefused`, `PropensitiesWrong` or `ArtifactRejected`."""
    log = LogFile.open(task.log)
    start, manifest = versions.found(task.base or log.champion())
    joined = Joined.of(_watched(task, log, manifest.version, watch=watch))
    _refuse_foreign(joined.examples, log, manifest.version)
    sifted = sifting.sift(joined, task.settings, champion=manifest.version)
    sides = _counts(sifted.sides)
    say(f"{sifted.decisions} decisions: {', '.join(f'{n} {side}' for side, n in sides.items())}")
    task.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=task.folder, prefix=".workshop-") as room:
        shop = _Shop(task, start, manifest.version, room=Path(room))
        judged = shop.judged(sifted, watch=watch, say=say)
        if judged:
            shop.place(judged[0].candidate.version, task.folder / "candidate")
    return Outcome(
        line=log.about.line,
        reference=manifest.version,
        decisions=sifted.decisions,
        skipped={reason.value: number for reason, number in sifted.skipped.items()},
        not_exported=log.about.skipped,
        suspects=tuple(each.to_json() for each in sifted.suspects),
        sides=sides,
        judged=judged,
    )


def _watched(
    task: Assignment, log: LogFile, champion: str, *, watch: Watch
) -> Iterator[Example | Skipped]:
    with watch("decisions", min(log.decisions, task.settings.trainer_replay)) as tell:
        for each in log.read(champion=champion, newest=task.settings.trainer_replay):
            yield each
            tell()


def _refuse_foreign(examples: Sequence[Example], log: LogFile, champion: str) -> None:
    """A version whose own decisions are not there cannot be compared with."""
    made = Counter(example.decision.version[:12] for example in examples)
    if not any(example.fresh for example in examples):
        told = ", ".join(f"{number} by {version}" for version, number in made.most_common())
        raise LogRefused(
            f"{log.path} has no decision by {champion[:12]} to learn from; it has {told or 'none'}"
        )


def _counts(sides: Split) -> dict[str, int]:
    return {"train": len(sides.train), "tune": len(sides.tune), "judge": len(sides.gate)}


class _Shop:
    """Where versions are made and judged, with a store of its own that goes with it."""

    def __init__(self, task: Assignment, start: Path, champion: str, *, room: Path) -> None:
        self._task = task
        self._champion = champion
        self._cache = room / "cache"
        self._store = Store(str(room / "versions"))
        self._store.put(start)
        settings = task.settings.model_copy(update={"cache_dir": self._cache})
        self._workshop = Workshop(settings, self._store, threads=task.threads)
        self._golden = GoldenSet(golden.judged())

    def judged(
        self, sifted: Sifted, *, watch: Watch, say: Callable[[str], object]
    ) -> tuple[Judged, ...]:
        """Best first."""
        sides = sifted.sides
        if not (sides.train and sides.tune):
            return ()
        self._prepare(sides, watch=watch)
        say("training")
        candidates = self._trained(sides)
        say(f"{len(candidates)} to judge")
        bench = self._bench(sides, candidates=len(candidates))
        found = [
            Judged(candidate=each, verdicts=tuple(judging.verdicts(each, bench)))
            for each in candidates
        ]
        return tuple(sorted(found, key=lambda each: each.rank, reverse=True))

    def place(self, version: str, folder: Path) -> None:
        versions.place(self._store.fetch(version, self._cache), folder)

    def _prepare(self, sides: Split, *, watch: Watch) -> None:
        """What enters the last layer, which takes most of the time, ahead of its use: the most wanted first."""
        learned_from = newest_first([*sides.tune, *sides.train])
        judging = newest_first(newest_explored(sides.gate))
        listings = [*self._golden.listings, *learned_from, *judging]
        with watch("lists through the layers below", len(listings)) as tell:
            done = 0
            for step in range(1, STEPS + 1):
                # All so far each time: what is not asked for would make room.
                end = len(listings) * step // STEPS
                self._workshop.prepare(self._champion, listings[:end])
                for _ in range(end - done):
                    tell()
                done = end

    def _trained(self, sides: Split) -> list[Candidate]:
        made = []
        for candidate, folder in self._workshop.candidates(
            self._champion, sides, golden=self._golden, seed=self._task.seed
        ):
            self._store.put(folder)
            made.append(candidate)
        return made

    def _bench(self, sides: Split, *, candidates: int) -> Bench:
        settings = self._task.settings
        return Bench(
            workshop=self._workshop,
            golden=self._golden,
            champion=self._champion,
            examples=sides.gate,
            alpha=gate.spent(
                settings.trainer_alpha,
                round_number=self._task.attempt,
                candidates=max(candidates, 1),
            ),
            seed=self._task.seed,
        )
