"""Which model answers: one for each line, replaced between two requests and never by an earlier epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from contract import arms
from contract.pointer import Live
from contract.records import Arm, NotLearnable
from service.errors import NoModelYet, UnknownLine
from service.score import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A version that serves a line; a request captures it once."""

    live: Live
    scorer: Scorer
    arm: Arm = Arm.CHAMPION
    canary: Self | None = None
    """Beside a champion: the version that answers a share of the units, where it could be loaded."""
    hold_back: Self | None = None
    """Beside another champion than itself: the base of the line, likewise."""

    @property
    def version(self) -> str:
        return _named(self.live).get(self.arm, self.live.version)

    @property
    def not_learnable(self) -> NotLearnable | None:
        """What is held back stays a measure: it teaches nothing."""
        return NotLearnable.HOLD_BACK if self.arm is Arm.HOLD_BACK else None

    @property
    def beside(self) -> Mapping[Arm, "Model"]:
        """Those that are loaded."""
        both = {Arm.CANARY: self.canary, Arm.HOLD_BACK: self.hold_back}
        return {arm: model for arm, model in both.items() if model is not None}

    @property
    def missing(self) -> Mapping[Arm, str]:
        """The versions that are live beside a champion and not loaded."""
        return {
            arm: version for arm, version in _named(self.live).items() if arm not in self.beside
        }

    @property
    def canary_share(self) -> float:
        """What the canary answers here: nothing where it is not loaded."""
        return 0.0 if self.canary is None else self.live.canary_share

    @property
    def hold_back_share(self) -> float:
        """What the base answers here, likewise."""
        return 0.0 if self.hold_back is None else self.live.hold_back_share

    def of(self, unit: bytes) -> "Model":
        """Who answers the unit: the champion where the other is not loaded."""
        live = self.live
        arm = arms.arm(unit, canary=live.canary_share, hold_back=live.hold_back_share)
        return self.beside.get(arm, self)

    def with_beside(self, arm: Arm, scorer: Scorer) -> "Model":
        """Once that version is loaded."""
        model = Model(live=self.live, scorer=scorer, arm=arm)
        return replace(self, canary=model) if arm is Arm.CANARY else replace(self, hold_back=model)


def _named(live: Live) -> Mapping[Arm, str]:
    """The versions that answer beside the champion."""
    both = {Arm.CANARY: live.canary_version, Arm.HOLD_BACK: live.held_back}
    return {arm: version for arm, version in both.items() if version is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A version that this replica was told to serve and does not."""

    live: Live
    version: str
    """The champion's, the canary's or the base."""
    reason: str
    at: datetime


class Models:
    """The slots of this replica."""

    def __init__(self, default_line: str, *, refuses_unknown: bool = False) -> None:
        self._default_line = default_line
        self._refuses_unknown = refuses_unknown
        self._serving: dict[str, Model] = {}
        self._announced: set[str] = {default_line}
        self.rejections: dict[str, Rejection] = {}
        """The last one of each line, until a later epoch serves, or all of that one."""

    def of(self, line: str | None) -> Model:
        """The model of a line, or of the default one: clients name models of the service that they were written for.

        Raises `NoModelYet`, and `UnknownLine` where such names are refused.
        """
        is_ours = line in self._serving or line in self._announced or self._refuses_unknown
        name = line if line is not None and is_ours else self._default_line
        if (model := self._serving.get(name)) is not None:
            return model
        if name in self._announced:
            raise NoModelYet("this replica has no model of that line yet")
        raise UnknownLine("there is no line of that name")

    def epoch(self, line: str) -> int:
        """What the line serves, 0 before its first model."""
        model = self._serving.get(line)
        return 0 if model is None else model.live.epoch

    def is_whole(self, line: str) -> bool:
        """Whether all of the line's epoch serves: for what was refused beside it, the champion answers."""
        model = self._serving.get(line)
        return model is None or not model.missing

    def announce(self, line: str) -> None:
        """The line exists, whether or not a model of it was loaded."""
        self._announced.add(line)

    def serve(self, model: Model) -> bool:
        """Puts a model in its slot; false, and nothing changes, where a later epoch serves."""
        line, epoch = model.live.line, model.live.epoch
        if epoch < self.epoch(line):
            return False
        self._serving[line] = model
        rejection = self.rejections.get(line)
        if rejection is not None and rejection.live.epoch < epoch + (not model.missing):
            del self.rejections[line]
        return True

    def reject(self, rejection: Rejection) -> None:
        """Remembers why the line does not serve what it was told to."""
        self.rejections[rejection.live.line] = rejection

    @property
    def serving(self) -> tuple[Model, ...]:
        return tuple(self._serving.values())

    @property
    def loaded(self) -> tuple[Model, ...]:
        """Those that serve, and those beside them."""
        return *self.serving, *(each for model in self.serving for each in model.beside.values())

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line that was heard of, the default one included."""
        return tuple(sorted(self._announced))
