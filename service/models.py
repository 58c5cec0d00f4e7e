"""Which model answers: one for each line, replaced between two requests and never by an earlier epoch."""

from dataclasses import dataclass
from datetime import datetime

from contract.pointer import Live
from service.errors import NoModelYet, UnknownLine
from service.score import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A version that serves a line; a request captures it once."""

    live: Live
    scorer: Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A version that this replica was told to serve and does not."""

    live: Live
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
        """The last one of each line, until a later epoch serves."""

    def of(self, line: str | None) -> Model:
        """The model of a line, or of the default one: clients name models of the service that they were written for.

        Raises `NoModelYet`, and `UnknownLine` where such names are refused.
        """
        is_ours = line in self._announced or line in self._serving or self._refuses_unknown
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
        if rejection is not None and rejection.live.epoch <= epoch:
            del self.rejections[line]
        return True

    def reject(self, rejection: Rejection) -> None:
        """Remembers why the line does not serve what it was told to."""
        self.rejections[rejection.live.line] = rejection

    @property
    def serving(self) -> tuple[Model, ...]:
        return tuple(self._serving.values())

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line that was heard of, the default one included."""
        return tuple(sorted(self._announced))
