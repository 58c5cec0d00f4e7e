"""Which of two answers is better: asked twice, the second time with each in the other's place."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from judge.case import Comparison
from judge.opinions import Judge, Opinion

Place: TypeAlias = Literal["A", "B"]

UNDECIDED: Final = 0.5
_SAID: Final = {1.0: "better", UNDECIDED: "tie", 0.0: "worse"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One of the two presentations."""

    place: Place
    """Where the answer stood."""
    opinion: Opinion

    @property
    def value(self) -> float:
        """1 where the answer is better than its rival, 0 where it is worse, .5 where neither."""
        of_a = self.opinion.verdict.findings[0].value
        return of_a if self.place == "A" else 1 - of_a


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What came of an answer beside its rival."""

    looks: tuple[Look, ...] = ()
    """Both; none where the two say the same, and nobody had to be asked."""

    @property
    def value(self) -> float:
        """What both looks say; .5 where they differ: then a place was preferred, and no answer."""
        said = {look.value for look in self.looks}
        return said.pop() if len(said) == 1 else UNDECIDED

    @property
    def outcome(self) -> str:
        """In a word: better, worse or tie; flip, where the looks differ; same, where the answers do not."""
        if not self.looks:
            return "same"
        if len({look.value for look in self.looks}) > 1:
            return "flip"
        return _SAID[self.value]


async def preferred(judge: Judge, comparison: Comparison) -> Preference:
    """How `answer` does beside `rival`; judge: of a rubric of the kind `pair`.

    Which of them is A first is a matter of their texts.  Raises `Suspected`, and as `Judge.judged`.
    """
    judge.look_at(comparison)
    if comparison.answer.strip() == comparison.rival.strip():
        return Preference()
    shown = {"A": comparison, "B": comparison.swapped()}
    places: tuple[Place, Place] = ("A", "B") if comparison.leads else ("B", "A")
    looks = [Look(place=place, opinion=await judge.judged(shown[place])) for place in places]
    return Preference(looks=tuple(looks))
