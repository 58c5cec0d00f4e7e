from uuid import UUID, uuid5

from judge.llm import Usage
from judge.opinions import Opinion
from judge.queue import Document, Task
from judge.rubric import Kind, Rubric
from judge.statements import Statements
from judge.verdict import Finding, Verdict
from tests.unit.judge.rubrics import rubric

DECISION = UUID("01900000-0000-7000-8000-000000000001")
TASK = Task(
    lease_id=DECISION,
    decision_id=DECISION,
    query="Q?",
    documents=[Document(index=7, text="seven"), Document(index=3, text="three")],
    answer="A",
    reference=None,
    sampling_probability=0.25,
    attempts_left=0,
    expires_in_s=300,
)


def statements(by: Rubric, **changes: object) -> Statements:
    return Statements(task=TASK, rubric=by, model="a-judge", **changes)  # type: ignore[arg-type]


def opinion(*findings: Finding) -> Opinion:
    """The document at request position 3 was read first."""
    return Opinion(
        verdict=Verdict(findings=findings, rationale="because", injection=False),
        presentation=(1, 0),
        provider="llm.example",
        model="a-judge-2026",
        params={"temperature": 0},
        usage=Usage(prompt_tokens=100, completion_tokens=20),
        cost=400_000_000,
        remembered=False,
    )


def test_a_score_is_a_statement_about_the_answer_and_tells_how_it_came_about():
    (item,) = statements(rubric(), flags=("shadow",)).of(opinion(Finding(value=0.7)))

    assert item == {
        "id": str(uuid5(DECISION, "r@1/a-judge/0/")),
        "decision_id": str(DECISION),
        "document": None,
        "name": "quality",
        "value": 0.7,
        "rationale": "because",
        "source": {"type": "LLM_JUDGE", "id": "r@1"},
        "metadata": {"replicate": 0},
        "judge": {
            "rubric": {"id": "r", "version": "1", "sha256": ""},
            "mode": "answer",
            "provider": "llm.example",
            "model": "a-judge-2026",
            "params": {"temperature": 0},
            "presentation": [3, 7],
            "sampling_probability": 0.25,
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "cost": 0.0004},
            "flags": ["shadow"],
        },
    }


def test_scores_of_documents_are_statements_about_their_request_positions():
    by = rubric(kind=Kind.DOCUMENTS)
    found = opinion(Finding(value=1, document=0), Finding(value=0, document=1))

    items = statements(by).of(found)

    assert [(item["document"], item["value"]) for item in items] == [
        ({"index": 3}, 1),
        ({"index": 7}, 0),
    ]
    assert len({item["id"] for item in items}) == 2
    assert items[0]["judge"]["mode"] == "listwise"


def test_an_answer_that_claims_nothing_is_unobserved():
    (item,) = statements(rubric(kind=Kind.CLAIMS)).of(opinion())

    assert item["error"] == "the answer claims nothing"
    assert "value" not in item


def test_another_replicate_is_another_statement():
    first, second = (
        statements(rubric(), replicate=replicate).of(opinion(Finding(value=1)))[0]
        for replicate in (0, 1)
    )

    assert first["id"] != second["id"]
    assert second["metadata"] == {"replicate": 1}


def test_an_error_is_as_long_as_may_be_and_leaves_a_verdict_its_place():
    (item,) = statements(rubric()).error("x" * 1000)

    assert item["error"] == "x" * 500
    assert item["id"] == str(uuid5(DECISION, "r@1/a-judge/0/error"))
    assert item["judge"]["rubric"]["id"] == "r"
