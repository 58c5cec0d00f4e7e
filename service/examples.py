"""Bodies that work as they are: the documentation shows them, and a test sends them."""

from typing import Any, Final, TypeAlias

Example: TypeAlias = dict[str, Any]

DECISION: Final = "01890a5d-ac96-7b7c-8f89-37c3d0a66e10"
FEEDBACK: Final = "01890a5d-ac97-7b7c-8f89-37c3d0a66e11"
LEASE: Final = "9f2c3c1e-0f44-4a53-9d58-0c1c1f1e9a10"
REPLAY_LEASE: Final = "5d1f7a52-6c0b-4e0e-9a54-3c8d8a6b1f20"
VERSION: Final = "2f6a4c1e9b7d03f85a6e1c24d90b7f3e8a5d6c10f2b4e7938d1a0c5f6e9b2d47"
"""These stand for ids that the service gave out."""

_QUERY: Final = "How long is the warranty?"
_DOCUMENTS: Final = ["The warranty lasts two years.", "Shipping takes three days."]


def _example(summary: str, value: dict[str, Any]) -> Example:
    return {"summary": summary, "value": value}


RERANK: Final[dict[str, Example]] = {
    "strings": _example(
        "Cohere, Jina, vLLM and others: strings",
        {"query": _QUERY, "documents": _DOCUMENTS, "top_n": 2},
    ),
    "objects": _example(
        "Ours: documents with ids and first-stage scores",
        {
            "query": _QUERY,
            "documents": [
                {"id": "warranty", "text": _DOCUMENTS[0], "score": 12.5},
                {"id": "shipping", "text": _DOCUMENTS[1], "score": 3.25},
            ],
            "session_id": "user-7",
            "tags": {"page": "support"},
            "return_documents": True,
        },
    ),
    "fields": _example(
        "Cohere v1: the fields that are the text",
        {
            "query": _QUERY,
            "documents": [
                {"title": "Warranty", "body": _DOCUMENTS[0]},
                {"title": "Shipping", "body": _DOCUMENTS[1]},
            ],
            "rank_fields": ["title", "body"],
        },
    ),
    "voyage": _example(
        "Voyage", {"query": _QUERY, "documents": _DOCUMENTS, "top_k": 1, "truncation": True}
    ),
    "tei": _example(
        "Text Embeddings Inference",
        {"query": _QUERY, "texts": _DOCUMENTS, "return_text": True, "truncate": True},
    ),
    "nim": _example(
        "NVIDIA NIM",
        {
            "query": {"text": _QUERY},
            "passages": [{"text": text} for text in _DOCUMENTS],
            "truncate": "END",
        },
    ),
    "mixedbread": _example(
        "mixedbread", {"query": _QUERY, "input": _DOCUMENTS, "top_k": 1, "return_input": True}
    ),
    "scores": _example("vLLM's scores, in input order", {"text_1": _QUERY, "text_2": _DOCUMENTS}),
    "pairs": _example(
        "vLLM's scores of pairs",
        {"queries": [_QUERY, "How long does shipping take?"], "items": _DOCUMENTS},
    ),
}

ANSWER: Final[dict[str, Example]] = {
    "prefix": _example(
        "The best documents went into the prompt",
        {
            "used_k": 1,
            "text": "Two years.",
            "reference": "The warranty lasts two years.",
            "citations": [0],
            "model": "some-llm",
            "prompt_version": "7",
            "latency_ms": 812.5,
            "occurred_at": "2026-01-31T12:00:00Z",
        },
    ),
}

_THUMB: Final = {
    "decision_id": DECISION,
    "name": "thumb",
    "value": True,
    "source": {"type": "END_USER", "id": "widget"},
}
STATEMENT: Final[dict[str, Example]] = {
    "thumb": _example("A user liked the answer", _THUMB),
    "document": _example(
        "A person found a document useful",
        {
            "decision_id": DECISION,
            "document": {"index": 0},
            "name": "useful",
            "value": 1.0,
            "source": {"type": "HUMAN", "id": "reviewer"},
            "rationale": "It says how long.",
        },
    ),
    "verdict": _example(
        "A judge's verdict",
        {
            "decision_id": DECISION,
            "name": "faithful",
            "value": 0.75,
            "source": {"type": "LLM_JUDGE", "id": "judge"},
            "judge": {
                "rubric": {"id": "faithfulness", "version": "1"},
                "provider": "somebody",
                "model": "some-llm",
                "params": {"temperature": 0},
                "mode": "answer",
                "confidence": 0.9,
                "sampling_probability": 1.0,
            },
        },
    ),
    "error": _example(
        "A judge that failed: unobserved, not zero",
        {
            "decision_id": DECISION,
            "name": "faithful",
            "error": "the model timed out",
            "source": {"type": "LLM_JUDGE", "id": "judge"},
        },
    ),
}
BATCH: Final[dict[str, Example]] = {
    "two": _example(
        "Two statements",
        {"items": [_THUMB, {**_THUMB, "name": "copied", "value": False}]},
    ),
}
MATCH: Final[dict[str, Example]] = {
    "texts": _example("By the texts that were used", {"query": _QUERY, "used": _DOCUMENTS[:1]}),
}
LEASED: Final[dict[str, Example]] = {
    "four": _example(
        "Four answers to judge",
        {"n": 4, "rubric": {"id": "helpfulness", "version": "1"}},
    ),
    "a tenth": _example(
        "A tenth of the answers, and all where the order was explored or a canary answered",
        {
            "n": 4,
            "rubric": {"id": "helpfulness", "version": "1"},
            "settle_s": 60,
            "sampling": {"floor": 0.1, "low_margin": 0.5, "margin": 0.2},
        },
    ),
}
NACK: Final[dict[str, Example]] = {
    "timeout": _example("The model did not answer", {"error": "the model timed out"}),
    "stopped": _example(
        "The judge was stopped", {"error": "the judge was stopped", "tried": False}
    ),
}
REPLAYS_LEASED: Final[dict[str, Example]] = {
    "four": _example("Four answers to make again", {"n": 4}),
}
REPLAYED: Final[dict[str, Example]] = {
    "pair": _example(
        "The answer from `used` was better than the one from `against`, whichever was read first",
        {
            "value": 1.0,
            "rationale": "It alone says how long.",
            "judge": {
                "rubric": {"id": "pairwise", "version": "1"},
                "model": "some-llm",
                "mode": "pairwise",
                "usage": {"prompt_tokens": 912, "completion_tokens": 140, "cost": 0.0004},
            },
        },
    ),
    "error": _example("The app's LLM will not answer it", {"error": "the prompt is too long"}),
}
ROLLBACK: Final[dict[str, Example]] = {
    "back": _example("To the champion before", {"reason": "complaints since this morning"}),
}
PROMOTE: Final[dict[str, Example]] = {
    "by hand": _example(
        "A version of the line", {"version": VERSION, "reason": "our own test set prefers it"}
    ),
}
CANARY: Final[dict[str, Example]] = {
    "a tenth": _example(
        "A tenth of the sessions",
        {"version": VERSION, "share": 0.1, "reason": "the gate had too few queries"},
    ),
}
END_CANARY: Final[dict[str, Example]] = {
    "end": _example("The champion alone again", {"reason": "complaints since this morning"}),
}
HOLD_BACK: Final[dict[str, Example]] = {
    "a fiftieth": _example(
        "A fiftieth of the sessions", {"share": 0.02, "reason": "what is learning worth?"}
    ),
    "nobody": _example("Nobody any more", {"share": 0, "reason": "it is known by now"}),
}
REBUILD: Final[dict[str, Example]] = {
    "anew": _example(
        "Without a source that is in quarantine", {"reason": "mallory voted for weeks"}
    ),
}
FREEZE: Final[dict[str, Example]] = {
    "stop": _example("No new models for now", {"reason": "the sale begins on Friday"}),
    "go on": _example("Learn again", {"frozen": False, "reason": "the sale is over"}),
}
QUARANTINE: Final[dict[str, Example]] = {
    "silence": _example(
        "A user who is not heard",
        {
            "source": {"type": "END_USER", "id": "widget"},
            "since": "2026-01-31T12:00:00Z",
            "reason": "votes against every right answer",
        },
    ),
    "lift": _example(
        "The same user is heard again",
        {
            "source": {"type": "END_USER", "id": "widget"},
            "quarantined": False,
            "reason": "it was a broken button",
        },
    ),
}

TRACES: Final[dict[str, Example]] = {
    "nothing": _example("An export of nothing", {"resourceSpans": []}),
    "a span": _example(
        "A span that says nothing of rankings or answers",
        {
            "resourceSpans": [
                {
                    "scopeSpans": [
                        {
                            "spans": [
                                {
                                    "traceId": "5b8efff798038103d269b633813fc60c",
                                    "spanId": "eee19b7ec3c1b174",
                                    "parentSpanId": "eee19b7ec3c1b173",
                                    "name": "answer",
                                }
                            ]
                        }
                    ]
                }
            ]
        },
    ),
}
