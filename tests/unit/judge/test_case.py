from judge.case import Case, Comparison

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


def comparison(answer: str, rival: str, documents: list[str] | None = None) -> Comparison:
    return Comparison(query="Q?", documents=documents or [], answer=answer, rival=rival)


def test_swapped_the_documents_stay_where_they_are():
    there = comparison("one", "another", TEXTS)

    assert there.swapped() == comparison("another", "one", TEXTS)
    assert there.swapped().swapped() == there
    assert there.swapped().presentation() == there.presentation() == case(TEXTS).presentation()


def test_which_of_two_answers_leads_is_a_matter_of_their_texts():
    leads = [comparison(f"answer {n}", f"rival {n}").leads for n in range(200)]

    assert leads == [not comparison(f"rival {n}", f"answer {n}").leads for n in range(200)]
    # 200 throws of a coin: 100 and four standard deviations of 7.1.
    assert 71 < sum(leads) < 129
