"""Which model answers: one for each line, replaced between two requests and never by an earlier epoch."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from contract import arms
from contract.pointer import Live
from contract.records import Arm
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

    @property
    def version(self) -> str:
        canary = self.live.canary_version
        return canary if self.arm is Arm.CANARY and canary is not None else self.live.version

    @property
    def is_whole(self) -> bool:
        """Whether everything that is live is loaded."""
        return self.canary is not None or self.live.canary_version is None

    def of(self, unit: bytes) -> "Model":
        """Who answers the unit."""
        is_its = arms.arm(unit, share=self.live.canary_share) is Arm.CANARY
        return self.canary if is_its and self.canary is not None else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A version that this replica was told to serve and does not."""

    live: Live
    version: str
    """The champion's or the canary's."""
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
        """Whether all of the line's epoch serves: where a canary was refused, the champion serves alone."""
        model = self._serving.get(line)
        return model is None or model.is_whole

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
        if rejection is not None and rejection.live.epoch < epoch + model.is_whole:
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
        """Those that serve, and the canaries beside them."""
        canaries = (model.canary for model in self.serving)
        return *self.serving, *(canary for canary in canaries if canary is not None)

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line that was heard of, the default one included."""
        return tuple(sorted(self._announced))
