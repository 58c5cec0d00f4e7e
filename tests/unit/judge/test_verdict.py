import json

import pytest

from judge.rubric import Kind
from judge.verdict import Finding, NoVerdict, Verdict, example, schema, verdict_of
from tests.unit.judge.rubrics import rubric

ANSWER, CLAIMS, DOCUMENTS, PAIR = (rubric(kind=kind) for kind in Kind)


def scored(reply: str) -> Verdict:
    return verdict_of(reply, ANSWER, documents=2)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 0.7}', 0.7),
        ('{"score": 1}', 1.0),
        ('{"score": "0.25"}', 0.25),
        ('```json\n{"rationale": "fine", "score": 0.5}\n```', 0.5),
        ('<think>{"score": 0.1} was too harsh.</think>\n{"score": 0.9}', 0.9),
        ('<think>{"a": 1}</think> Sure! {"score": 0.4} Hope this helps {.', 0.4),
        ('{"score": 0.6} That is {"score": 0.6}.', 0.6),
        ('{"score": 0.3} {"note": "no score here"}', 0.3),
        ('{"score": 0.3} {"score": 7}', 0.3),
        ('{ not json {"score": 0.2}', 0.2),
    ],
)
def test_the_score_that_fits_counts_whatever_is_around_it(reply: str, score: float):
    assert scored(reply).findings == (Finding(value=score),)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "The answer is good.",
        "0.7",
        '{"score": 1.2}',
        '{"score": -0.1}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": 1e999}',
        '{"score": true}',
        '{"score": null}',
        '{"score": "high"}',
        '{"score": [0.5]}',
        '["score", 0.5]',
        "{" * 100_000,
    ],
)
def test_without_a_score_on_the_scale_there_is_no_verdict(reply: str):
    with pytest.raises(NoVerdict):
        scored(reply)


def test_a_verdict_that_quotes_another_one_is_none():
    with pytest.raises(NoVerdict, match="two verdicts that differ"):
        scored('{"score": 0.0} The document contained {"score": 1.0}.')


def test_a_score_is_where_it_lies_on_the_scale():
    of_five = rubric(scale=(1, 5))

    # 4 of 1 to 5 is three quarters of the way.
    assert verdict_of('{"score": 4}', of_five, documents=0).findings == (Finding(value=0.75),)
    with pytest.raises(NoVerdict, match="between 1 and 5"):
        verdict_of('{"score": 0}', of_five, documents=0)


def test_claims_are_worth_the_share_that_is_supported():
    reply = json.dumps({"claims": [{"claim": c, "supported": c != "b"} for c in "abcd"]})

    assert verdict_of(reply, CLAIMS, documents=1).findings == (Finding(value=0.75),)


def test_who_claims_nothing_has_no_share():
    assert verdict_of('{"claims": []}', CLAIMS, documents=1).findings == ()


def test_each_document_has_a_score_of_its_own_in_whatever_order():
    reply = '{"documents": [{"id": "D2", "score": 1}, {"id": "D1", "score": 0.5}]}'

    assert set(verdict_of(reply, DOCUMENTS, documents=2).findings) == {
        Finding(value=0.5, document=0),
        Finding(value=1, document=1),
    }


@pytest.mark.parametrize("ids", [["D1"], ["D1", "D1"], ["D1", "D3"], ["D1", "D2", "D3"], []])
def test_documents_that_do_not_all_come_back_once_are_no_verdict(ids: list[str]):
    reply = json.dumps({"documents": [{"id": each, "score": 0} for each in ids]})

    with pytest.raises(NoVerdict, match="under its own id"):
        verdict_of(reply, DOCUMENTS, documents=2)


@pytest.mark.parametrize(
    ("winner", "of_a"), [("A", 1.0), ("B", 0.0), ("tie", 0.5), ("a", 1.0), (" Tie ", 0.5)]
)
def test_of_two_answers_the_value_is_that_of_the_first_one(winner: str, of_a: float):
    reply = json.dumps({"rationale": "", "injection": False, "winner": winner})

    assert verdict_of(reply, PAIR, documents=2).findings == (Finding(value=of_a),)


@pytest.mark.parametrize("winner", ['"C"', '"A or B"', '""', "1", "null", '["A"]'])
def test_a_winner_that_is_none_of_the_two_is_no_verdict(winner: str):
    with pytest.raises(NoVerdict):
        verdict_of(f'{{"winner": {winner}}}', PAIR, documents=2)


def test_two_winners_are_no_verdict():
    with pytest.raises(NoVerdict, match="two verdicts that differ"):
        verdict_of('{"winner": "A"} Answer B had {"winner": "B"}.', PAIR, documents=2)


@pytest.mark.parametrize(
    ("said", "meant"), [("true", True), ("false", False), ('"no"', False), ("1", False)]
)
def test_an_injection_is_one_when_the_model_plainly_says_so(said: str, *, meant: bool):
    assert scored(f'{{"score": 0, "injection": {said}}}').injection is meant


def test_the_rationale_is_kept_as_far_as_it_can_be_stored():
    verdict = scored('{"score": 1, "rationale": "a\\u0000b\\ud800c' + "x" * 5000 + '"}')

    assert verdict.rationale == "abc" + "x" * 1997


def test_a_rationale_that_is_no_text_is_left_out():
    assert scored('{"score": 1, "rationale": {}}').rationale is None


@pytest.mark.parametrize("kind", list(Kind))
def test_schema_and_example_name_the_same_fields(kind: Kind):
    asked = schema(rubric(kind=kind), documents=2)

    assert asked["required"] == list(asked["properties"])
    for name in asked["properties"]:
        assert f'"{name}"' in example(rubric(kind=kind), documents=2)
