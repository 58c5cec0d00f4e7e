"""Several processes that train one model: each takes its share of every batch, and all take the step of the whole.

`torchrun` starts them and tells each its number. The first is a trainer like any other; the others wait for what it
gives them to train, and know neither database nor gate. This module does not know what that is.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeVar

import torch
from torch import Tensor, distributed

Item = TypeVar("Item")

PATIENCE: Final = timedelta(days=365)
"""The others wait for the next round as long as it takes; that a rank has died is noticed at once."""


class RanksParted(Exception):
    """One of several ranks failed while they trained: they are no group any more, and all have to start again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    on_this_machine: int = 1

    @classmethod
    def joined(cls) -> Self:
        """As `torchrun` started it; alone without it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        distributed.init_process_group("gloo", timeout=PATIENCE)
        return cls(
            rank=distributed.get_rank(),
            size=distributed.get_world_size(),
            on_this_machine=int(os.environ["LOCAL_WORLD_SIZE"]),
        )

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, places: Iterable[int]) -> list[int]:
        """Which of these this rank trains on: a place belongs to the same rank in every epoch."""
        return [place for place in places if place % self.size == self.rank]

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Every gradient becomes the sum over all ranks; a rank without one adds nothing."""
        if self.size == 1:
            return
        gradients = [
            torch.zeros_like(each) if each.grad is None else each.grad for each in parameters
        ]
        flat = torch.cat([each.reshape(-1) for each in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([each.numel() for each in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def summed(self, counts: Counter[Item]) -> Counter[Item]:
        """What all ranks have counted."""
        if self.size == 1:
            return counts
        found: list[Counter[Item]] = [Counter()] * self.size
        distributed.all_gather_object(found, counts)
        return sum(found, Counter[Item]())

    @contextmanager
    def together(self, task: object) -> Iterator[None]:
        """The first gives the others a task and does it with them; if it fails they end, and `torchrun` with them.

        Raises `RanksParted` in place of an error, where there are others.
        """
        try:
            self._send(task)
            yield
        except Exception as failure:
            if self.size == 1:
                raise
            self._leave()
            raise RanksParted(f"{type(failure).__name__}: {failure}") from failure
        except BaseException:
            self._leave()
            raise

    def tasks(self) -> Iterator[object]:
        """What another rank is given, until it is dismissed."""
        while (task := self._received()) is not None:
            yield task
        self._leave()

    def dismiss(self) -> None:
        """There will be no more tasks."""
        self._send(None)
        self._leave()

    def _send(self, task: object) -> None:
        if self.size > 1:
            distributed.broadcast_object_list([task])

    def _received(self) -> object:
        box: list[object] = [None]
        distributed.broadcast_object_list(box)
        return box[0]

    def _leave(self) -> None:
        if self.size > 1:
            distributed.destroy_process_group()


ALONE: Final = Ranks()
