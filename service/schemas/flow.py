"""`GET /v1/flow`: how much of what passes through the loop can be learned from, and where it is lost."""

from service.schemas.strict import Out


class Flow(Out):
    """Counts of one tenant's decisions of a line, and of what was said of them."""

    line: str
    """Whose decisions these are."""
    within_s: float
    """How far back it looks."""
    decisions: int
    """All of them."""
    explored: int
    """Decisions whose order was drawn."""
    not_learnable: dict[str, int]
    """Decisions that have no support, by reason."""
    with_scores: int
    """Decisions whose documents came with the first stage's scores."""
    queries: int
    """Distinct ones."""
    answered: int
    """Decisions with an answer."""
    answered_with_text: int
    """The others cannot be judged."""
    answered_with_citations: int
    """Decisions whose answer says what it cites."""
    not_a_prefix: int
    """Answers that used something else than the beginning of what was shown."""
    spoken_of: int
    """Decisions with feedback of any kind."""
    rewarded: int
    """Decisions with a reward."""
    learnable: int
    """Decisions that training can use: rewarded, with support, and a prefix used."""
    oldest_age_s: float | None
    """How long ago the first of these decisions was made."""
