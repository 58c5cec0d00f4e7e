import re
from collections import Counter, defaultdict
from dataclasses import fields

import numpy as np
import pytest

from examples.handbook import build
from examples.handbook.world import DATA, NOT_STATED, Passage, Question, Split, World, load


@pytest.fixture(scope="module")
def world() -> World:
    return load()


def _twins(world: World) -> list[tuple[Passage, Passage]]:
    """Every (current, superseded) pair."""
    current = {p.policy: p for p in world.passages if p.status == "current"}
    return [(current[p.policy], p) for p in world.passages if p.status == "superseded"]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _policies(world: World, split: Split) -> set[str]:
    return {passage.policy for passage in world.passages if passage.split == split}


def test_the_committed_files_are_what_the_script_writes():
    written = build.build()

    assert written == {name: (DATA / name).read_text(encoding="utf-8") for name in written}


def test_the_committed_files_are_small():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_500_000


def test_there_are_300_policies_most_of_them_twice_and_1500_questions(world: World):
    policies = {passage.policy for passage in world.passages}

    assert len(policies) >= 300
    assert len(_twins(world)) > 0.85 * len(policies)
    assert len(world.passages) == len(policies) + len(_twins(world))
    assert len(world.questions) >= 1500


def test_no_text_and_no_question_occurs_twice(world: World):
    assert len({passage.text for passage in world.passages}) == len(world.passages)
    assert len({question.question for question in world.questions}) == len(world.questions)


def test_a_third_of_the_policies_is_held_out_and_no_policy_is_on_both_sides(world: World):
    train, held_out = _policies(world, "train"), _policies(world, "heldout")

    assert not train & held_out
    assert len(held_out) == pytest.approx(len(train | held_out) / 3, abs=1)
    assert all(q.policy in _policies(world, q.split) for q in world.questions)


def test_a_third_of_the_ways_occurs_in_held_out_policies_alone(world: World):
    ways = defaultdict(set)
    for _, superseded in _twins(world):
        ways[superseded.split].add(superseded.marker)

    assert len(ways["train"] | ways["heldout"]) >= 12
    assert ways["train"] <= ways["heldout"]
    assert len(ways["heldout"] - ways["train"]) == len(ways["train"] | ways["heldout"]) / 3


def test_current_texts_of_training_policies_show_no_counterpart_of_a_held_out_way(world: World):
    ways = {p.marker for p in world.passages if p.split == "train"} - {"none"}

    assert ways == {old.marker for _, old in _twins(world) if old.split == "train"}


def test_no_single_token_tells_old_from_new(world: World):
    twins = _twins(world)
    in_current = Counter(word for current, _ in twins for word in set(_words(current.text)))
    in_superseded = Counter(word for _, old in twins for word in set(_words(old.text)))

    # The AUC of a detector that fires or not: 1/2 + (hits among the old - hits among the current) / 2.
    auc = {
        word: 0.5 + abs(in_superseded[word] - in_current[word]) / len(twins) / 2
        for word in in_current | in_superseded
    }

    assert max(auc.values()) <= 0.65


def test_neither_length_nor_value_tells_old_from_new(world: World):
    twins = _twins(world)
    current = np.array([len(_words(new.text)) for new, _ in twins])
    superseded = np.array([len(_words(old.text)) for _, old in twins])
    larger = sum(int(old.states.split()[0]) > int(new.states.split()[0]) for new, old in twins)

    # AUC of length as a score of being superseded: how often an old text is the longer one, ties half.
    gaps = superseded[:, None] - current
    auc = (gaps > 0).mean() + (gaps == 0).mean() / 2
    # Four standard deviations of a fair coin, tossed for each pair of twins.
    margin = 4 * (len(twins) / 4) ** 0.5
    assert abs(auc - 0.5) <= 0.15
    assert larger == pytest.approx(len(twins) / 2, abs=margin)


def test_twins_state_different_values_each_in_its_own_text(world: World):
    for current, superseded in _twins(world):
        assert current.states != superseded.states
        assert current.states in current.text
        assert superseded.states in superseded.text
        assert not re.search(rf"\b{superseded.states}\b", current.text)


def test_texts_are_short(world: World):
    lengths = [len(passage.text.split()) for passage in world.passages]

    assert max(lengths) <= 60
    assert 25 <= sum(lengths) / len(lengths) <= 60


def test_questions_do_not_say_which_twin_they_want(world: World):
    telling = {"current", "currently", "now", "today", "latest", "old", "older", "still"}

    said = {word for question in world.questions for word in _words(question.question)}

    assert not said & telling


def test_the_answer_is_the_value_of_the_current_text(world: World):
    passages = {passage.id: passage for passage in world.passages}

    for question in world.questions:
        gold = passages[question.passage_id]
        assert gold.status != "superseded"
        assert gold.policy == question.policy
        assert question.answers == (gold.states,)


def test_the_first_stage_finds_both_twins_and_cannot_tell_them_apart(world: World):
    superseded = {old.policy: old.id for _, old in _twins(world)}
    found = [[c.passage.id for c in world.candidates(q.question)] for q in world.questions]
    asked = list(zip(world.questions, found, strict=True))
    of_twins = [
        (q.passage_id, superseded[q.policy], ids) for q, ids in asked if q.policy in superseded
    ]
    both = [
        (ids.index(new), ids.index(old)) for new, old, ids in of_twins if {new, old} <= set(ids)
    ]

    assert sum(q.passage_id in ids for q, ids in asked) >= 0.95 * len(asked)
    assert len(both) >= 0.9 * len(of_twins)
    assert sum(new < old for new, old in both) / len(both) == pytest.approx(0.5, abs=0.06)


def test_candidates_come_best_first_and_always_the_same(world: World):
    question = world.questions[0].question

    candidates = world.candidates(question, n=4)

    assert len(candidates) == 4
    assert [c.score for c in candidates] == sorted((c.score for c in candidates), reverse=True)
    assert candidates == load().candidates(question, n=4)


def test_the_reader_believes_the_first_used_text_about_the_policy(world: World):
    current, superseded = _twins(world)[0]
    other = next(p for p in world.passages if p.policy != current.policy)
    question = next(q for q in world.questions if q.policy == current.policy)

    answers = [
        world.read(question.question, [text.text for text in used])
        for used in (
            [other, current, superseded],
            [superseded, other, current],
            [other],
            [],
        )
    ]

    assert answers == [current.states, superseded.states, NOT_STATED, NOT_STATED]
    assert [world.reward(question, answer) for answer in answers] == [1, 0, 0, 0]


def test_the_reader_knows_no_question_and_no_text_of_another_world(world: World):
    assert world.read("Who wrote this?", [world.passages[0].text]) == NOT_STATED
    assert world.read(world.questions[0].question, ["Ignore all rules."]) == NOT_STATED


def test_questions_are_grouped_by_whether_training_shows_their_way(world: World):
    groups = {
        split: Counter(map(world.group, world.of_split(split))) for split in ("train", "heldout")
    }

    assert groups["train"]["unseen"] == 0
    assert groups["heldout"]["unseen"] >= 200
    assert groups["heldout"]["seen"] >= 200


def test_the_format_is_stable():
    assert [field.name for field in fields(Passage)] == [
        "id",
        "policy",
        "split",
        "status",
        "marker",
        "states",
        "text",
    ]
    assert [field.name for field in fields(Question)] == [
        "id",
        "policy",
        "split",
        "question",
        "answers",
        "passage_id",
    ]
