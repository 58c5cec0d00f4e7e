from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rankloop.integrations.reading import HEAD, Reading, Shown, cited, places, reports

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHOWN = Shown(
    decision_id="d",
    positions=(4, 0, 2),
    texts=("The warranty is two years.", "The warranty was one year.", "Ask us."),
)


def reading(prompt: str, answer: str = "Two years [1].") -> Reading:
    return Reading(prompt=prompt, answer=answer, model="a-reader", at=NOW, latency_ms=8)


def prompt(*texts: str) -> str:
    return "\n".join(f"[{place}] {text}" for place, text in enumerate(texts, 1)) + "\n\nHow long?"


def test_what_stands_in_the_prompt_was_used_in_its_order():
    (report,) = reports(
        [SHOWN], [reading(prompt(SHOWN.texts[2], SHOWN.texts[0]), "So it is [2].")], cited=cited
    )

    assert report.used == [2, 4]
    assert report.citations == [4]
    assert report.reading.answer == "So it is [2]."


def test_an_answer_that_cites_nothing_says_nothing_about_citations():
    (report,) = reports([SHOWN], [reading(prompt(*SHOWN.texts), "Two years.")], cited=cited)

    assert report.citations is None


def test_a_call_that_saw_no_document_is_no_answer():
    rephrased = reading("Rephrase: how long?", "How long is the warranty?")

    (report,) = reports([SHOWN], [rephrased, reading(prompt(*SHOWN.texts))], cited=cited)

    assert report.reading.answer == "Two years [1]."


def test_a_call_that_asks_for_tools_is_no_answer():
    tools = reading(prompt(*SHOWN.texts), "")

    (report,) = reports([SHOWN], [tools, reading(prompt(*SHOWN.texts))], cited=cited)

    assert report.reading.answer == "Two years [1]."


def test_a_later_call_about_the_same_documents_is_a_check():
    check = reading(prompt(*SHOWN.texts, "Is 'Two years [1].' true?"), "Yes.")

    (report,) = reports([SHOWN], [reading(prompt(*SHOWN.texts)), check], cited=cited)

    assert report.reading.answer == "Two years [1]."


def test_documents_that_are_read_one_by_one_have_the_last_answer():
    first, second, third = SHOWN.texts
    refined = [
        reading(prompt(first), "Draft one."),
        reading(f"Draft one.\n{prompt(second)}", "Draft two."),
        reading(f"Draft two.\n{prompt(third)}", "Two years [1], not one [2]."),
    ]

    (report,) = reports([SHOWN], refined, cited=cited)

    assert report.used == [4, 0, 2]
    assert report.citations == [4, 0]
    assert report.reading is refined[-1]
    assert report.calls == tuple(refined)


def test_a_draft_that_a_piece_left_as_it_was_still_carries_that_piece():
    first, second, third = SHOWN.texts
    refined = [
        reading(prompt(first), "Not stated."),
        reading(f"Not stated.\n{prompt(second)}", "Not stated."),
        reading(f"Not stated.\n{prompt(third)}", "Ask us."),
    ]

    (report,) = reports([SHOWN], refined, cited=cited)

    assert report.used == [4, 0, 2]
    assert report.reading is refined[-1]


def test_a_call_that_puts_partial_answers_together_has_read_their_documents():
    mapped = [reading(prompt(text), f"Part number {n}.") for n, text in enumerate(SHOWN.texts)]
    reduced = reading("\n".join(each.answer for each in mapped), "Two years [1].")

    (report,) = reports([SHOWN], [*mapped, reduced], cited=cited)

    assert (report.used, report.citations) == ([4, 0, 2], [4])
    assert report.reading is reduced


def test_an_answer_from_extracts_is_numbered_by_what_they_were_taken_from():
    extracts = [
        reading(f"{SHOWN.texts[1]}\nWhat matters?", "was one year"),
        reading(f"{SHOWN.texts[0]}\nWhat matters?", "is two years"),
    ]
    answer = reading("[1] was one year\n[2] is two years\nHow long?", "Two years [2].")

    (report,) = reports([SHOWN], [*extracts, answer], cited=cited)

    assert (report.used, report.citations) == ([0, 4], [4])


def test_of_several_drafts_the_one_made_from_them_is_the_answer():
    drafts = [reading(prompt(*SHOWN.texts), draft) for draft in ("Two years.", "Since 2024 two.")]
    chosen = reading("Put together:\nTwo years.\nSince 2024 two.", "Two years, since 2024.")

    (report,) = reports([SHOWN], [*drafts, chosen], cited=cited)

    assert report.reading is chosen
    assert report.used == [4, 0, 2]


@pytest.mark.parametrize("verdict", ["no", "4", "irrelevant", "Irrelevant.", '{"score": "no"}'])
def test_documents_that_were_graded_one_by_one_are_used_where_the_answer_read_them(verdict: str):
    graded = [
        reading(f"{text}\nIs it relevant or irrelevant, yes or no, 1 to 5?", verdict)
        for text in SHOWN.texts
    ]
    asked = f"Say nothing irrelevant, and no more than 4 lines.\n{prompt(SHOWN.texts[2])}"
    answer = reading(asked, "Ask us [1].")

    (report,) = reports([SHOWN], [*graded, answer], cited=cited)

    assert (report.used, report.citations) == ([2], [2])
    assert report.reading is answer


@pytest.mark.parametrize("shown", [SHOWN, replace(SHOWN, positions=(4,), texts=SHOWN.texts[:1])])
def test_a_verdict_about_all_documents_is_not_the_answer(shown: Shown):
    grade = reading(f"{prompt(*shown.texts)}\nIs it relevant?", '{"relevant": [1]}')
    answer = reading(prompt(shown.texts[0]), "Two years [1].")

    (report,) = reports([shown], [grade, answer], cited=cited)

    assert (report.used, report.citations) == ([4], [4])
    assert report.reading is answer


@pytest.mark.parametrize(
    "later",
    [
        f"{SHOWN.texts[2]}\nDoes it say 'Ask the shop [1].'?",
        "A title for: Ask the shop [1].",
        "A title for: How long?",
    ],
)
def test_neither_a_check_nor_a_title_is_the_answer(later: str):
    graded = [reading(f"{text}\nIs it relevant?", "yes") for text in SHOWN.texts]
    answer = reading(prompt(SHOWN.texts[2]), "Ask the shop [1].")

    (report,) = reports(
        [SHOWN], [*graded, answer, reading(later, "Yes: the warranty.")], cited=cited
    )

    assert (report.used, report.citations) == ([2], [2])
    assert report.reading is answer


def test_a_question_in_two_parts_has_an_answer_for_each():
    other = Shown(decision_id="e", positions=(1,), texts=("Shipping is free.",))
    parts = [
        reading(prompt(*SHOWN.texts), "Two years [1]."),
        reading(prompt(*other.texts), "It costs nothing [1]."),
    ]
    both = reading("Two years [1].\nIt costs nothing [1].\nAnd both?", "Two years, and nothing.")

    first, second = reports([SHOWN, other], [*parts, both], cited=cited)

    assert (first.reading, first.used, first.citations) == (parts[0], [4, 0, 2], [4])
    assert (second.reading, second.used, second.citations) == (parts[1], [1], [1])


def test_two_rankings_in_one_prompt_are_numbered_through():
    other = Shown(decision_id="e", positions=(1,), texts=("Shipping is free.",))
    asked = prompt(SHOWN.texts[0], other.texts[0])

    first, second = reports([SHOWN, other], [reading(asked, "Yes [2].")], cited=cited)

    assert (first.decision_id, first.used, first.citations) == ("d", [4], [])
    assert (second.decision_id, second.used, second.citations) == ("e", [1], [1])


def test_a_ranking_that_no_call_read_has_no_report():
    assert reports([SHOWN], [reading("How long?")], cited=cited) == []
    assert reports([SHOWN], [], cited=cited) == []


def test_an_app_may_cite_in_its_own_way():
    asked = reading(prompt(*SHOWN.texts), "Two years (last).")

    (report,) = reports([SHOWN], [asked], cited=lambda answer, documents: [documents - 1])

    assert report.citations == [2]


def test_white_space_does_not_matter():
    assert places("The  warranty\n\tis two years.", ["The warranty is\ntwo years."]) == [0]


def test_a_text_inside_a_longer_one_counts_where_it_stands_alone():
    short, long = "Ask us.", "Ask us. Or ask the shop."

    assert places(long, [short, long]) == [1]
    assert places(f"{long} {short}", [short, long]) == [1, 0]


def test_the_same_text_twice_is_two_documents_where_it_stands_twice():
    assert places("Ask us.", ["Ask us.", "Ask us."]) == [0]
    assert places("Ask us. Ask us.", ["Ask us.", "Ask us."]) == [0, 1]


def test_a_text_whose_end_was_cut_off_was_used():
    whole = "word " * HEAD

    assert places(whole[: 2 * HEAD], [whole]) == [0]
    assert places(whole[: HEAD // 2], [whole]) == []


def test_a_whole_text_comes_before_one_that_only_begins_like_it():
    beginning = "The same beginning of every section. " * 8
    old, new = beginning + "It was one year, and the rest is longer.", beginning + "It is two."

    assert places(new, [old, new]) == [1]


@pytest.mark.parametrize("texts", [[], [""], ["  "]])
def test_nothing_is_found_nowhere(texts: list[str]):
    assert places("How long?", texts) == []


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("", []),
        ("Two years.", []),
        ("Two years [2].", [1]),
        ("Two [3], one [1][3].", [2, 0]),
        ("Both [1, 2].", [0, 1]),
        ("[0] [4] [99999]", []),
        ("a[i] and [see 1] and (2)", []),
    ],
)
def test_a_mark_names_the_nth_document_of_the_prompt(answer: str, found: list[int]):
    assert cited(answer, 3) == found
