"""From what was read to what is learned from: who is believed, what trains, tunes and judges, nobody above a share."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trainer import agreement, caps, readers
from trainer.agreement import Suspect
from trainer.examples import Example, Skipped
from trainer.join import Joined
from trainer.settings import TrainerSettings
from trainer.splits import Split, split


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """What a round works with, and why not with the rest."""

    sides: Split
    decisions: int
    """That are believed and within every share."""
    skipped: Mapping[Skipped, int]
    suspects: Sequence[Suspect]


def sift(joined: Joined, settings: TrainerSettings, *, champion: str) -> Sifted:
    heard = readers.of_today(joined.examples)
    suspects = agreement.suspects(heard) if settings.trainer_suspect else []
    believed = agreement.believed(heard, suspects)
    sides, over = caps.within(
        divided(believed, settings, champion=champion),
        settings.shares,
    )
    skipped = Counter(joined.skipped) + over
    skipped[Skipped.READER_GONE] = len(joined.examples) - len(heard)
    skipped[Skipped.SUSPECTED] = len(heard) - len(believed)
    return Sifted(
        sides=sides,
        decisions=len(believed) - over.total(),
        skipped=+skipped,
        suspects=suspects,
    )


def divided(examples: Iterable[Example], settings: TrainerSettings, *, champion: str) -> Split:
    return split(
        examples,
        champion=champion,
        tune_share=settings.trainer_tune_share,
        gate_share=settings.trainer_gate_share,
    )
