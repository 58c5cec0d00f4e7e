from judge.case import Case

TEXTS = [f"document {number}" for number in range(8)]


def case(documents: list[str]) -> Case:
    return Case(query="Q?", documents=documents, answer="A")


def test_every_document_is_presented_once():
    assert sorted(case(TEXTS).presentation()) == list(range(8))


def test_the_order_tells_nothing_of_the_ranks():
    there, back = case(TEXTS), case(TEXTS[::-1])

    assert [there.documents[i] for i in there.presentation()] == [
        back.documents[i] for i in back.presentation()
    ]


def test_a_second_look_sees_another_order():
    for n in (2, 8):
        assert case(TEXTS[:n]).presentation(1) == case(TEXTS[:n]).presentation(0)[::-1]


def test_a_text_that_comes_twice_is_presented_twice():
    assert sorted(case(["same", "same"]).presentation()) == [0, 1]
