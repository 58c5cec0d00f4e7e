from judge.case import Case, Comparison
from judge.prompt import messages
from judge.rubric import Kind
from tests.unit.judge.rubrics import rubric

CASE = Case(query="Q?", documents=["D1", "D2"], answer="A")


def test_everything_to_be_graded_stands_between_lines_with_the_random_word():
    system, user = messages(
        rubric(instructions="Grade it.\n"), CASE, presentation=(1, 0), nonce="secret"
    )

    assert system["content"].startswith("Grade it.\n\nThe question, the documents and the answer")
    assert system["content"].endswith('"score": <number from 0 to 1>}')
    assert "secret" not in system["content"]
    assert user["content"] == "\n\n".join(
        f"=== begin {name} secret ===\n{text}\n=== end {name} secret ==="
        for name, text in [
            ("question", "Q?"),
            ("document D1", "D2"),
            ("document D2", "D1"),
            ("answer", "A"),
        ]
    )


def test_a_reference_stands_before_the_answer():
    case = Case(query="Q?", documents=[], answer="A", reference="R")

    _, user = messages(rubric(), case, presentation=(), nonce="n")

    assert user["content"].index("begin reference") < user["content"].index("begin answer")


def test_two_answers_stand_after_the_documents_and_the_reference():
    comparison = Comparison(
        query="Q?", documents=["D1", "D2"], reference="R", answer="One", rival="Another"
    )

    system, user = messages(rubric(kind=Kind.PAIR), comparison, presentation=(1, 0), nonce="secret")

    assert "The question, the documents and the answers arrive" in system["content"]
    assert system["content"].endswith('"winner": <"A", "B" or "tie">}')
    assert user["content"] == "\n\n".join(
        f"=== begin {name} secret ===\n{text}\n=== end {name} secret ==="
        for name, text in [
            ("question", "Q?"),
            ("document D1", "D2"),
            ("document D2", "D1"),
            ("reference", "R"),
            ("answer A", "One"),
            ("answer B", "Another"),
        ]
    )


def test_no_document_can_know_the_word():
    first, second = (messages(rubric(), CASE, presentation=(0, 1))[1]["content"] for _ in range(2))

    assert first != second
    word = first.split()[3]
    assert len(word) == 32
