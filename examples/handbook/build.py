"""Writes the handbook's passages and questions from the hand-written material, by a seed.

    python -m examples.handbook.build          # rewrites data/passages.jsonl and data/questions.jsonl

The files are committed; a test holds that this script still writes them byte for byte.
"""

import calendar
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from examples.handbook.sources import Department, Fact, Marks, Way, departments, ways
from examples.handbook.world import DATA, Marker, Passage, Question, Split, Status

SEED: Final = 7
POLICIES_PER_DEPARTMENT: Final = 48
HELD_OUT_QUESTIONS: Final = 2
"""About each policy; one to learn from is asked about in every way that there is, as traffic would."""
SINGLE_SHARE: Final = 0.08
"""Policies that exist only once, as a current text."""
HELD_OUT_EVERY: Final = 3
MARKS_OF_OLD: Final = (1, 2, 2, 2)
"""How many marks a superseded text carries: a banner, a footer or both; each number here is equally likely."""
MARKS_OF_CURRENT: Final = (0, 0, 1)
"""The same for a current text, whose marks are counterparts. Without one, it says nothing about its standing."""
TITLES: Final = (
    "{chapter}: {subject}. {text}",
    "{Subject}. {text}",
    "{chapter}, {subject}. {text}",
    "{Subject} ({chapter}). {text}",
    "{text} (Chapter: {chapter}, {subject}.)",
    "{text} (More about {subject}: {chapter}.)",
)
MONTHS: Final = tuple(calendar.month_name)[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rule about one subject, to be written once or twice."""

    id: str
    department: Department
    subject: str
    fact: Fact
    split: Split
    way: Way
    single: bool


def main() -> None:
    """Write both files into the data folder."""
    DATA.mkdir(exist_ok=True)
    for name, text in build().items():
        (DATA / name).write_text(text, encoding="utf-8")


def build() -> dict[str, str]:
    """Return the content of both files by name, the same at every call."""
    rng = random.Random(SEED)
    passages: list[Passage] = []
    questions: list[Question] = []
    for policy in _policies(rng):
        texts = _write(policy, rng)
        passages += texts
        questions += _ask(policy, texts[0], rng)
    # In random order, so that ties of the first stage favour neither twin.
    rng.shuffle(passages)
    return {"passages.jsonl": _lines(passages), "questions.jsonl": _lines(questions)}


def _policies(rng: random.Random) -> Iterator[Policy]:
    every_way = ways()
    seen = [way for way in every_way if not way.only_held_out]
    unseen = [way for way in every_way if way.only_held_out]
    dealt = {"train": _deal(seen, rng), "seen": _deal(seen, rng), "unseen": _deal(unseen, rng)}
    rules = [rule for department in departments() for rule in _rules(department, rng)]
    for i, (department, subject, fact) in enumerate(rules):
        held_out = i % HELD_OUT_EVERY == 0
        # Every second held-out policy shows a way that no training policy shows.
        deck = ("unseen" if i % (2 * HELD_OUT_EVERY) == 0 else "seen") if held_out else "train"
        yield Policy(
            id=f"policy-{i:03d}",
            department=department,
            subject=subject,
            fact=fact,
            split="heldout" if held_out else "train",
            way=next(dealt[deck]),
            single=rng.random() < SINGLE_SHARE,
        )


def _rules(department: Department, rng: random.Random) -> list[tuple[Department, str, Fact]]:
    rules = [
        (department, subject, fact) for subject in department.subjects for fact in department.facts
    ]
    return rng.sample(rules, POLICIES_PER_DEPARTMENT)


def _deal(ways: list[Way], rng: random.Random) -> Iterator[Way]:
    """Yield the ways in ever new random orders, so that each is equally frequent."""
    while True:
        yield from rng.sample(ways, len(ways))


def _write(policy: Policy, rng: random.Random) -> list[Passage]:
    """Return the current text first, then the superseded one where there is one."""
    current, superseded = rng.sample(policy.fact.values, 2)
    # Two different sentence patterns: twins share their topic, not their wording.
    says, formerly_says = rng.sample(policy.fact.says, 2)
    marks = _choose(policy.way.new, rng.choice(MARKS_OF_CURRENT), rng)
    text = _text(policy, says, current, marks, rng)
    status: Status = "single" if policy.single else "current"
    marker: Marker = policy.way.name if marks else "none"
    texts = [_passage(policy, status, marker=marker, states=current, text=text)]
    if not policy.single:
        past = rng.choice(policy.fact.said)
        pattern = past if policy.way.name == "past_tense" else formerly_says
        marks = _choose(policy.way.old, rng.choice(MARKS_OF_OLD), rng)
        text = _text(policy, pattern, superseded, marks, rng)
        marker = policy.way.name
        texts.append(_passage(policy, "superseded", marker=marker, states=superseded, text=text))
    return texts


def _passage(policy: Policy, status: Status, *, marker: Marker, states: str, text: str) -> Passage:
    return Passage(
        id=f"{policy.id}-{'old' if status == 'superseded' else 'new'}",
        policy=policy.id,
        split=policy.split,
        status=status,
        marker=marker,
        states=states,
        text=text,
    )


def _ask(policy: Policy, current: Passage, rng: random.Random) -> Iterator[Question]:
    drawn = rng.sample(policy.fact.asks, HELD_OUT_QUESTIONS)
    others = [pattern for pattern in policy.fact.asks if pattern not in drawn]
    for i, pattern in enumerate(drawn if policy.split == "heldout" else [*drawn, *others]):
        yield Question(
            id=f"{policy.id}-q{i}",
            policy=policy.id,
            split=policy.split,
            question=_fill(pattern, policy.subject),
            answers=(current.states,),
            passage_id=current.id,
        )


def _text(
    policy: Policy, pattern: str, value: str, marks: Sequence[str], rng: random.Random
) -> str:
    """Compose a page; a second mark takes the place of a filler, so that length tells little."""
    fillers = rng.sample(policy.department.fillers, 2 if len(marks) <= 1 else 1)
    sentences = [_fill(pattern, policy.subject, value), *fillers]
    rng.shuffle(sentences)
    page = rng.choice(TITLES).format(
        text=" ".join(sentences),
        chapter=policy.department.name,
        subject=policy.subject,
        Subject=_capital(policy.subject),
    )
    # Drawn once, so that the banner and the footer of a page agree.
    details = _details(rng)
    for mark in marks:
        page = mark.format(page=page, **details)
    # A footer may begin with a reference.
    return re.sub(r"(?<=[.)] )[a-z]", lambda first: first[0].upper(), page)


def _choose(marks: Marks, count: int, rng: random.Random) -> list[str]:
    banner, footer = rng.choice(marks.banners), rng.choice(marks.footers)
    return rng.sample([banner + " {page}", "{page} " + footer], count)


def _details(rng: random.Random) -> dict[str, str | int]:
    earlier, later = sorted(rng.sample(range(2018, 2025), 2))
    return {
        "d": _date(rng, 2019, 2025),
        "y": rng.randint(2019, 2025),
        "long_ago": _date(rng, 2016, 2020),
        "lately": _date(rng, 2024, 2026),
        "ref": _reference(rng),
        "a": rng.randint(1, 4),
        "b": rng.randint(5, 9),
        "y1": earlier,
        "y2": later,
    }


def _date(rng: random.Random, first_year: int, last_year: int) -> str:
    day, month, year = rng.randint(1, 28), rng.choice(MONTHS), rng.randint(first_year, last_year)
    return rng.choice((f"{day} {month} {year}", f"{month} {year}", f"{month} {day}, {year}"))


def _reference(rng: random.Random) -> str:
    return rng.choice(
        (
            f"section {rng.randint(1, 19)}.{rng.randint(1, 9)}",
            f"notice {rng.choice('ABCDEFGH')}{rng.randint(10, 99)}",
            f"circular {rng.randint(10, 99)}",
            f"bulletin {rng.randint(100, 999)}",
            f"page {rng.randint(10, 300)}",
        )
    )


def _fill(pattern: str, subject: str, value: str = "") -> str:
    return pattern.format(s=subject, S=_capital(subject), v=value)


def _capital(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]


def _lines(rows: list[Passage] | list[Question]) -> str:
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
