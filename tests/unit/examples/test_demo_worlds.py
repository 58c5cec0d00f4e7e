import json
from collections import Counter
from dataclasses import replace
from math import log2
from pathlib import Path

import pytest

from examples.demo import worlds
from examples.demo.worlds import World


@pytest.fixture(scope="module")
def handbook() -> World:
    return worlds.handbook()


def test_the_handbook_offers_ten_candidates_in_the_first_stages_order(handbook: World) -> None:
    scores = [document.score for document in handbook.train[0].documents]

    assert len(scores) == worlds.CANDIDATES
    assert scores == sorted(scores, reverse=True)


def test_the_handbook_rewards_the_current_value_alone(handbook: World) -> None:
    ask = handbook.train[0]

    assert handbook.grade(ask, [], ask.answers[0]) == 1
    assert handbook.grade(ask, [], "something else") == 0


def test_the_handbooks_reader_answers_right_from_the_gold_text(handbook: World) -> None:
    ask = next(ask for ask in handbook.train if ask.gold & {one.id for one in ask.documents})
    gold = [document.text for document in ask.documents if document.id in ask.gold]

    assert handbook.grade(ask, gold, handbook.read(ask.text, gold)) == 1


def test_no_policy_is_both_learned_and_held_out(handbook: World) -> None:
    learned = {ask.cluster for ask in handbook.train}

    assert not learned & {ask.cluster for ask in handbook.held_out}


def test_traffic_asks_everything_once_before_anything_twice(handbook: World) -> None:
    few = replace(handbook, train=handbook.train[:3])

    asked = Counter(ask.id for ask in few.traffic(7, seed=1))

    assert sorted(asked.values()) == [2, 2, 3]


def test_traffic_is_a_function_of_the_seed(handbook: World) -> None:
    one, same, other = ([ask.id for ask in handbook.traffic(20, seed=seed)] for seed in (1, 1, 2))

    assert one == same
    assert one != other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = ["Paris lies on the Seine.", "Cologne lies on the Rhine.", "Rivers flow."]
    write(
        tmp_path / "passages.jsonl",
        [
            {"id": f"{split}-{n}", "title": "Rivers", "split": split, "text": text}
            for split in ("train", "test")
            for n, text in enumerate(texts)
        ],
    )
    for split in ("train", "test"):
        write(
            tmp_path / f"questions.{split}.jsonl",
            [
                {
                    "id": f"{split}-q",
                    "question": f"Which river does Cologne lie on ({split})?",
                    "answers": ["the Rhine"],
                    "passage_id": f"{split}-1",
                    "title": "Rivers",
                }
            ],
        )
    return tmp_path


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_folder_learns_from_train_and_is_judged_by_test(folder: Path) -> None:
    world = worlds.folder(folder, train=10, held_out=10, seed=0)

    assert [ask.id for ask in world.train] == ["train-q"]
    assert [ask.id for ask in world.held_out] == ["test-q"]
    assert world.train[0].documents[0].id == "train-1"


def test_a_folder_rewards_the_place_of_the_first_text_with_an_answer(folder: Path) -> None:
    world = worlds.folder(folder, train=10, held_out=10, seed=0)
    used = ["Rivers flow.", "Cologne lies on the Rhine."]

    answer = world.read(world.train[0].text, used)

    assert answer == "the Rhine"
    assert world.grade(world.train[0], used, answer) == pytest.approx(1 / log2(1 + 2))


def test_a_real_reader_is_graded_by_the_words_of_its_answer(folder: Path) -> None:
    world = worlds.folder(folder, train=10, held_out=10, seed=0).with_real_reader()

    assert world.grade(world.train[0], [], "Rhine") == 1
    assert world.grade(world.train[0], [], "Rhine river") == pytest.approx(2 / 3)
