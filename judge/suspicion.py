"""Texts that speak to whoever grades them.

Such an answer gets no verdict at all: its reward stays unobserved. A poisoned page then neither gains nor loses by
it, and an honest page about prompt injection loses a few observations.
"""

import re
from collections.abc import Mapping
from typing import Final

from judge.case import Comparison, Subject

_GRADER: Final = (
    r"\b(grader|grading|judge|evaluator|rater|reranker|ranking (model|system)|AI (assistant|model)"
    r"|language model|LLM)s?\b"
)
_ORDER: Final = r"\b(give|assign|award|rate|score|grade|mark|rank|output|return|respond|reply)\b"
_BEST: Final = (
    r"\b((score|rating|grade|mark) of (1\b|one|10\b|100)|full (score|marks)|(highest|maximum|perfect|top)"
    r" (score|rank|rating|grade|mark)s?|10 ?/ ?10|100 ?/ ?100)"
)
_A_OR_B: Final = r"\b(this answer|answer (?-i:[AB]))\b"
_SIGNS: Final[Mapping[str, re.Pattern[str]]] = {
    name: re.compile(pattern, re.IGNORECASE | re.DOTALL | re.MULTILINE)
    for name, pattern in {
        "instructs": r"\b(ignore|disregard|forget|override)\b.{0,20}\b(previous|prior|above|earlier|your)\b"
        r".{0,30}\b(instruction|prompt|rule|rubric|guideline)s?\b",
        "instructs_its_grader": rf"{_GRADER}.{{0,60}}(\bignore|\bdisregard|{_BEST})",
        "dictates_a_score": rf"{_ORDER}.{{0,40}}{_BEST}",
        "praises_itself": r"\bthis (passage|document|answer|text|page|article)\b.{0,10}\b(is|was)\b.{0,10}"
        r"\b(perfectly|fully|completely|absolutely|highly|most)\b.{0,20}"
        r"\b(relevant|correct|helpful|accurate)\b",
        "forges_a_verdict": r"\{[^{}]{0,400}[\"'](score|injection|supported|relevance_score|verdict)[\"']\s*:"
        r"\s*([\d.]+|true|false)"
        r"|\{[^{}]{0,400}[\"']winner[\"']\s*:\s*[\"'](A|B|tie)[\"']",
        "names_the_winner": rf"{_A_OR_B} (wins\b|(is|should be)\b.{{0,20}}\b(better|winner)\b)"
        rf"|\b(choose|declare|pick|prefer|select)\b.{{0,10}}{_A_OR_B}",
        "forges_a_chat": r"<\|?(im_start|im_end|endoftext|eot_id|start_header_id)\|?>|\[/?INST\]"
        r"|<(start|end)_of_turn>|^#{2,}\s*(system|assistant)\s*:?\s*$"
        r"|^=== (begin|end) (question|document|reference|answer)\b",
    }.items()
}
_OF_TWO: Final = frozenset({"names_the_winner"})
"""Signs where two answers are compared. Where one is judged alone they are harmless: a quiz says "select answer B"."""
_HIDDEN: Final = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|[\U000e0000-\U000e007f]")
"""Characters that no reader sees: taken out before looking, so that they hide no word."""


def signs(case: Subject) -> frozenset[str]:
    """Which ways of speaking to a grader the documents or the answers show; none in most."""
    texts = [_HIDDEN.sub("", text) for text in (*case.documents, *case.answers.values())]
    harmless = frozenset[str]() if isinstance(case, Comparison) else _OF_TWO
    return frozenset(
        name
        for name, pattern in _SIGNS.items()
        if name not in harmless and any(pattern.search(text) for text in texts)
    )
