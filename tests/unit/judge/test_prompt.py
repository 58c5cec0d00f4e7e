from judge.prompt import messages
from judge.rubric import Rubric

RUBRIC = Rubric(id="r", version="1", name="quality", instructions="Grade it.", sha256="")


def test_everything_to_be_graded_stands_between_lines_with_the_random_word():
    system, user = messages(RUBRIC, query="Q?", documents=["D1", "D2"], answer="A", nonce="secret")

    assert system == {"role": "system", "content": "Grade it."}
    assert user["content"] == "\n\n".join(
        f"=== begin {name} secret ===\n{text}\n=== end {name} secret ==="
        for name, text in [
            ("question", "Q?"),
            ("document 1", "D1"),
            ("document 2", "D2"),
            ("answer", "A"),
        ]
    )


def test_no_document_can_know_the_word():
    first, second = (
        messages(RUBRIC, query="Q?", documents=[], answer="A")[1]["content"] for _ in range(2)
    )

    assert first != second
    word = first.split()[3]
    assert len(word) == 32
