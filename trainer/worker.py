"""The trainer's life: derive rewards, repeat the pointer, watch canaries, run a round whenever enough was rewarded."""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import redis
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from contract import publication
from contract.pointer import Live
from contract.publication import LeaseMissing, TokenStale
from contract.refusals import Refusal
from contract.rewards import RewardSpec
from trainer import join, publish, replays, rewards, rounds, runs
from trainer.join import Arrived, Window
from trainer.lease import Lease
from trainer.ranks import RanksParted
from trainer.rounds import Context
from trainer.runs import Run, Status
from trainer.watch import Watch

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 5
"""A round that was cut off so often is given up: it may be what kills us."""
MANY_ROUNDS: Final = 64
"""After so many a round waits for the most that it may wait for, unless all wait for the same."""


class CutOff(Refusal):
    """The round was begun again and again and never came to its end."""


@dataclass(slots=True)
class Ending:
    """Whether the process was told to end: what a signal handler may set at any moment, as it takes no lock."""

    is_due: bool = False


class Worker:
    """One trainer of one line."""

    def __init__(self, context: Context, client: "redis.Redis", lease: Lease) -> None:
        self._context = context
        self._settings = context.settings
        self._engine = context.engine
        self._metrics = context.metrics
        self._redis = client
        self._lease = lease
        self._watch = Watch(context)
        self._seen = 0

    def run(self, ending: Ending) -> None:
        """Polls until it is told to end, whatever fails: a store that is away or a base that was moved may come back.

        A signal that comes within a statement may surface as an error of the database: it is not waited out.
        """
        while not ending.is_due:
            try:
                self.step()
            except DBAPIError as unreachable:
                logger.warning("trainer.waits reason=%s", unreachable.orig)
            except RanksParted:
                raise
            except Exception:
                self._metrics.failed_polls.inc()
                logger.exception("trainer.poll_failed")
            time.sleep(self._settings.trainer_poll_s)

    def step(self) -> Status | None:
        """One poll.  Returns what became of a round, None where there was none."""
        token = self._lease.take()
        self._metrics.leader.set(token is not None)
        if token is None:
            return None
        with self._engine.begin() as connection:
            spec = rewards.registered(connection, self._settings.reward_spec)
        self._derive(spec)
        live = self._live()
        if live is None:
            return None
        run = self._due(spec, live, token=token)
        if run is not None:
            return self._round(run, live, token=token)
        if self._watch.look(live, spec, token=token):
            self._live()
        return None

    def _derive(self, spec: RewardSpec) -> None:
        derived = rewards.BATCH
        while derived == rewards.BATCH:
            with self._engine.begin() as connection:
                derived = rewards.derive(
                    connection, spec, line=self._settings.line, now=datetime.now(UTC)
                )
            self._metrics.rewards.inc(derived)

    def _live(self) -> Live | None:
        """What Postgres says is live, repeated to Redis.

        None before there is a model, and while an operator has frozen the line.
        """
        line = self._settings.line
        with self._engine.connect() as connection:
            row = connection.execute(publication.live(line)).one_or_none()
            is_frozen = connection.execute(publication.is_frozen(line)).scalar_one()
        if row is None:
            return None
        live = publication.pointer(row)
        self._announce(live)
        return None if is_frozen else live

    def _announce(self, live: Live) -> None:
        self._metrics.epoch.set(live.epoch)
        secret = self._settings.secret.get_secret_value().encode()
        publish.announce(self._redis, live, secret=secret)

    def _due(self, spec: RewardSpec, live: Live, *, token: int) -> Run | None:
        """The round that was cut off, else a new one if there is enough to learn from."""
        with self._engine.begin() as connection:
            run = runs.unfinished(connection, self._settings.line)
            if run is not None:
                # One that another epoch has overtaken ends at once, and takes back what it asked for.
                is_current = (live.version, live.canary_version) == (run.champion, None)
                if is_current and rounds.is_waiting(connection, run):
                    return None
                return runs.attempt(connection, run)
            if live.canary_version is not None:  # Users are asked about one model at a time.
                return None
            arrived = self._arrived(connection, spec, live)
            is_asked = connection.scalar(publication.is_rebuilding(self._settings.line))
            if self._has_moved(
                connection, live
            ):  # a rebuild is asked of the base, and of no other champion
                return None
            if is_asked or arrived.decisions >= self._enough(connection):
                return self._start(connection, spec, live, token=token, xid_to=arrived.xid_to)
        self._prepare(spec, live, arrived)
        return None

    def _has_moved(self, connection: Connection, live: Live) -> bool:
        """Whether another epoch began since the pointer was read."""
        row = connection.execute(publication.live(self._settings.line)).one()
        return publication.pointer(row).epoch != live.epoch

    def _enough(self, connection: Connection) -> float:
        """What the first gains need, later ones, which are smaller, need more of to be seen."""
        settings = self._settings
        times = min(runs.decided(connection, settings.line), MANY_ROUNDS)
        wanted = settings.trainer_round_min_rewards * settings.trainer_round_growth**times
        return min(round(wanted), settings.trainer_replay)

    def _arrived(self, connection: Connection, spec: RewardSpec, live: Live) -> Arrived:
        """The champion's own decisions: a round cannot judge by those of its forebears."""
        line = self._settings.line
        since = runs.last_end(connection, line, spec)
        arrived = join.arrived(connection, line=line, spec=spec, since=since, version=live.version)
        self._metrics.waiting.set(arrived.decisions)
        self._metrics.cursor_lag.set(arrived.lag)
        return arrived

    def _start(
        self, connection: Connection, spec: RewardSpec, live: Live, *, token: int, xid_to: int
    ) -> Run:
        """A window from the birth of the champion on: rows of rounds that promoted nothing are asked again."""
        self._seen = 0
        xid_from = runs.born(connection, live.version, spec)
        return runs.start(
            connection,
            Window.of(live.line, spec, xid_from=xid_from, xid_to=xid_to),
            champion=live.version,
            token=token,
            seed=self._settings.trainer_seed + runs.begun(connection, live.line),
            config=self._settings.public(),
        )

    def _prepare(self, spec: RewardSpec, live: Live, arrived: Arrived) -> None:
        """Computes activations while there is time, so that the round need not."""
        grown, self._seen = arrived.decisions - self._seen, arrived.decisions
        if grown <= 0:
            return
        window = Window.of(live.line, spec, xid_from=0, xid_to=arrived.xid_to)
        try:
            rounds.prepare(self._context, live.version, window, newest=grown)
        except Refusal as refusal:
            logger.info("round.not_prepared reason=%s", refusal)

    def _round(self, run: Run, live: Live, *, token: int) -> Status:
        logger.info(
            "round.started run=%s champion=%s attempt=%d xid_from=%d xid_to=%d",
            run.id,
            run.champion[:12],
            run.attempts,
            run.window.xid_from,
            run.window.xid_to,
        )
        began = time.monotonic()
        status = self._guarded(run, live, token=token)
        took_s = time.monotonic() - began
        self._metrics.rounds.labels(status.value).inc()
        self._metrics.round_seconds.observe(took_s)
        logger.info("round.ended run=%s status=%s took_s=%.1f", run.id, status, took_s)
        self._live()
        return status

    def _guarded(self, run: Run, live: Live, *, token: int) -> Status:
        """A round that fails is noted with its error, and its rows belong to the next one."""
        try:
            _refuse_cut_off(run)
            return rounds.take_up(self._context, run, live=live, token=token)
        except (DBAPIError, RanksParted):
            raise
        except (LeaseMissing, TokenStale) as lost:  # whoever holds the lease now takes it up
            logger.warning("round.left run=%s reason=%s", run.id, lost)
            return Status.RUNNING
        except Exception as error:
            logger.exception("round.failed run=%s", run.id)
            reason = f"{type(error).__name__}: {error}"
            with self._engine.begin() as connection:
                replays.close(connection, run.id)
                runs.finish(connection, run, status=Status.FAILED, error=reason)
            return Status.FAILED


def _refuse_cut_off(run: Run) -> None:
    if run.attempts > MAX_ATTEMPTS:
        raise CutOff(f"{run.attempts - 1} attempts")
