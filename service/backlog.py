"""What was let in and is not scored yet: the order in which it is due, and the refusal of what would come too late.

A request is due `STRETCH` times as late as it would be scored alone: a small one overtakes a large one, and a large one
that has waited long enough is overtaken no more. Its deadline comes some seconds after that. A new request is let in
where it and all that wait will be scored before their deadlines, each in its turn; what was let in is not given up for
what comes later, so that under any load nearly all that is scored is also answered.
"""

import math
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from service.errors import Overloaded
from service.metrics import Metrics

STRETCH: Final = 12.0
"""Times as long as alone, a request may take before it is overdue."""
_FORGOTTEN: Final = 0.05
"""Of what earlier runs have shown, with each run."""
_GUESSED_S: Final = 1e-5
"""For a token, before the first run: enough to tell small from large, and too little to refuse anybody for."""


@dataclass(slots=True, eq=False)
class _Rate:
    """Of the latest runs, each with the weight of its tokens."""

    seconds: float = 0.0
    tokens: float = 0.0

    def ran(self, tokens: int, seconds: float) -> None:
        self.seconds += _FORGOTTEN * (seconds - self.seconds)
        self.tokens += _FORGOTTEN * (tokens - self.tokens)

    @property
    def seconds_per_token(self) -> float:
        return self.seconds / self.tokens if self.tokens else _GUESSED_S


class Pace:
    """How long a token takes, by the latest runs of each scorer; of a new one, by the latest of all.

    The batcher writes it and every thread may read it: each step is one of a dictionary or of a float.
    """

    def __init__(self) -> None:
        self._all = _Rate()
        self._of_each: WeakKeyDictionary[object, _Rate] = WeakKeyDictionary()

    def ran(self, scorer: object, *, tokens: int, seconds: float) -> None:
        """Learns from a run."""
        self._all.ran(tokens, seconds)
        self._of_each.setdefault(scorer, _Rate()).ran(tokens, seconds)

    def seconds(self, scorer: object, tokens: int) -> float:
        """What so many tokens will take."""
        return tokens * self._of_each.get(scorer, self._all).seconds_per_token


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """One request's place in the order; times are those of `time.perf_counter`."""

    scorer: object
    tokens: int
    """That wait for a score yet: as estimated, until they are counted."""
    due_at: float = field(default_factory=time.perf_counter)
    deadline_at: float = math.inf


def due(ticket: Ticket) -> float:
    """What tickets are ordered by."""
    return ticket.due_at


def work_s(tickets: Sequence[Ticket], pace: Pace) -> float:
    """How long all of it takes from now, in seconds."""
    return sum(pace.seconds(ticket.scorer, ticket.tokens) for ticket in tickets)


class Backlog:
    """The tickets of all requests that are inside.

    max_tokens: that may be due before a request is through, its own included.
    max_wait_s: from when a request is due to its deadline.
    """

    def __init__(
        self,
        metrics: Metrics,
        pace: Pace,
        *,
        max_tokens: int,
        max_wait_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._metrics = metrics
        self._pace = pace
        self._max_tokens = max_tokens
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._tickets: list[Ticket] = []
        """By the time at which they are due."""
        metrics.queued_tokens.set_function(self._tokens)
        metrics.expected_wait_s.set_function(lambda: work_s(self._tickets, pace))

    @contextmanager
    def admitted(
        self, scorer: object, tokens: int, *, waits_until: float = math.inf
    ) -> Iterator[Ticket]:
        """A ticket for one request while it is inside; an idle service takes any size.

        waits_until: when its client gives up, if that is before its deadline.  Raises `Overloaded`.
        """
        ticket = self._ticket(scorer, tokens, waits_until)
        self._check_room(ticket)
        insort(self._tickets, ticket, key=due)
        try:
            yield ticket
        finally:
            self._tickets.remove(ticket)

    def _ticket(self, scorer: object, tokens: int, waits_until: float) -> Ticket:
        now, alone_s = self._clock(), self._pace.seconds(scorer, tokens)
        due_at = now + STRETCH * alone_s
        return Ticket(
            scorer=scorer,
            tokens=tokens,
            due_at=min(due_at, waits_until - alone_s),
            deadline_at=min(due_at + self._max_wait_s, waits_until),
        )

    def _check_room(self, new: Ticket) -> None:
        if not self._tokens():
            return
        ahead = self._tickets[: bisect_right(self._tickets, new.due_at, key=due)]
        surplus = sum(ticket.tokens for ticket in ahead) + new.tokens - self._max_tokens
        late_s = max(self._pace.seconds(new.scorer, surplus), self._late_s(new))
        if surplus > 0 or late_s > 0:
            self._metrics.overloaded.inc()
            # Whatever is the matter, there is room when nothing waits.
            until_idle_s = work_s(self._tickets, self._pace)
            raise Overloaded("too much work waits", retry_after_s=min(late_s, until_idle_s))

    def _late_s(self, new: Ticket) -> float:
        """By how much the new one would miss its deadline, or make one behind it miss its own."""
        own_s = self._pace.seconds(new.scorer, new.tokens)
        behind = bisect_right(self._tickets, new.due_at, key=due)
        done_at = self._clock() + work_s(self._tickets[:behind], self._pace)
        late_s = done_at + own_s - new.deadline_at
        for ticket in self._tickets[behind:]:
            done_at += self._pace.seconds(ticket.scorer, ticket.tokens)
            # One that is too late as it is holds up nobody.
            if done_at <= ticket.deadline_at:
                late_s = max(late_s, done_at + own_s - ticket.deadline_at)
        return late_s

    def _tokens(self) -> int:
        return sum(ticket.tokens for ticket in self._tickets)
