"""Texts that speak to whoever grades them.

Such an answer gets no verdict at all: its reward stays unobserved. A poisoned page then neither gains nor loses by
it, and an honest page about prompt injection loses a few observations.
"""

import re
from collections.abc import Mapping
from typing import Final

from judge.case import Case

_SIGNS: Final[Mapping[str, re.Pattern[str]]] = {
    name: re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for name, pattern in {
        "instructs": r"\b(ignore|disregard|forget|override)\b.{0,40}\b(previous|prior|above|earlier|your|all|the)\b"
        r".{0,40}\b(instruction|prompt|rule|rubric|guideline)s?\b",
        "addresses_the_grader": r"\b(grader|grading|judge|evaluator|rater|reviewer|reranker|ranking (model|system)"
        r"|AI (assistant|model)|language model)s?\b.{0,60}\b(must|should|shall|please|note|give|assign|rate|score"
        r"|rank|return|output|respond)\b",
        "dictates_a_score": r"\b(give|assign|award|rate|score|grade|mark|rank|output|return|respond with|reply with)\b"
        r".{0,50}\b(score of|full (score|marks|points)|highest (score|rank|rating)|perfect (score|rating)|1\.0\b"
        r"|10 ?/ ?10|100 ?%|top (rank|score))",
        "praises_itself": r"\bthis (passage|document|answer|text|page|article|section)\b.{0,40}\b(is|was)\b.{0,30}"
        r"\b(perfect(ly)?|fully|completely|absolutely|most|highly|100 ?%)\b.{0,30}"
        r"\b(relevant|correct|helpful|accurate|useful|supported|authoritative)\b",
        "forges_a_verdict": r"[\"'](score|injection|supported|rationale|relevance_score|verdict)[\"']\s*:",
        "forges_a_chat": r"<\|?(im_start|im_end|system|assistant|endoftext|eot_id|start_header_id)\|?>|\[/?INST\]"
        r"|<(start|end)_of_turn>|^\s*#{2,}\s*(system|assistant|instruction)s?\b|=== (begin|end) \w+",
    }.items()
}
_HIDDEN: Final = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|[\U000e0000-\U000e007f]")
"""Characters that no reader sees: taken out before looking, so that they hide no word."""


def signs(case: Case) -> frozenset[str]:
    """Which ways of speaking to a grader the documents or the answer show; none in most."""
    texts = [_HIDDEN.sub("", text) for text in (*case.documents, case.answer)]
    return frozenset(
        name for name, pattern in _SIGNS.items() if any(pattern.search(text) for text in texts)
    )
