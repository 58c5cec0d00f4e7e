"""What operators say of sources that are not to be heard."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from contract.records import Source
from service.schemas.feedback import By
from service.schemas.scalars import Note, Time
from service.schemas.strict import Out, Strict
from service.texts import Name


class QuarantineChange(Strict):
    """Do not hear a source, or hear it again: rounds that begin later read the log as if it had not spoken."""

    source: By
    """Who, as in its feedback."""
    tenant: Name | None = None
    """The tenant that it spoke in; the caller's own when absent."""
    quarantined: bool = True
    """False lifts the quarantine."""
    since: Time | None = None
    """What was received before it is still heard; when absent, nothing is."""
    reason: Annotated[Note, Field(min_length=1)]
    """Why, for whoever reads it later."""


class Quarantine(Out):
    """One change; the newest one of a source holds."""

    quarantine_id: int
    """Its number, higher for newer ones."""
    tenant: str
    """The tenant that the source speaks in."""
    source_type: Source
    """What kind of speaker it is."""
    source_id: str
    """Which of them."""
    quarantined: bool
    """Whether it is not heard since, or heard again."""
    since: datetime | None
    """What was received before it is heard; null: nothing is."""
    actor: str
    """Who did it."""
    reason: str
    """Why, in their words."""
    created_at: datetime
    """When it was done."""
