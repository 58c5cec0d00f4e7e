from trainer import datasets, questions
from trainer.datasets import Dataset, Passage, Question


def passage(split, number):
    scope = "test" if split == "test" else "train and validation"
    return Passage(id=f"{split} {number}", text=f"stone {number}", split=split, scope=scope)


def question(split, number, *, answers=("yes",), text=None):
    scope = "test" if split == "test" else "train and validation"
    return Question(
        id=f"{split} {number}",
        text=text or f"{split} stone {number}",
        answers=answers,
        gold=frozenset(),
        group="stones",
        scope=scope,
    )


def dataset(**asked):
    passages = [passage(split, n) for split in ("train", "validation", "test") for n in range(3)]
    return Dataset(
        name="stones",
        passages={each.id: each for each in passages},
        questions={split: asked.get(split, ()) for split in datasets.SPLITS},
    )


def drawn(found, *, train=10, tune=10, held_out=10, candidates=2):
    return questions.sides(
        found, train=train, tune=tune, held_out=held_out, candidates=candidates, seed=0
    )


def test_each_split_has_its_purpose_and_its_candidates():
    sides = drawn(
        dataset(
            train=(question("train", 1),),
            validation=(question("validation", 2),),
            test=(question("test", 0),),
        )
    )

    assert [each.text for each in sides.train] == ["train stone 1"]
    assert [each.text for each in sides.tune] == ["validation stone 2"]
    (judging,) = sides.held_out
    assert judging.answers == ("yes",)
    assert [each.key for each in judging.candidates] == ["test 0", "test 1"]
    assert judging.documents([1, 0]) == ("stone 1", "stone 0")


def test_questions_of_one_article_are_one_cluster():
    made = [
        questions.Question(text=str(number), candidates=(), answers=(), group=group)
        for number, group in enumerate(["a", "b", "a"])
    ]

    first, second, third = questions.clusters(made)

    assert first == third != second


def test_a_question_that_judges_is_neither_learned_from_nor_asked_twice():
    sides = drawn(
        dataset(
            train=(question("train", 1, text="same"), question("train", 2)),
            test=(question("test", 1, text="same"), question("test", 2, text="same")),
        )
    )

    assert [each.text for each in sides.held_out] == ["same"]
    assert [each.text for each in sides.train] == ["train stone 2"]


def test_a_question_without_an_answer_is_left_out():
    sides = drawn(dataset(train=(question("train", 1, answers=()), question("train", 2))))

    assert [each.text for each in sides.train] == ["train stone 2"]


def test_fewer_questions_are_the_first_of_more():
    found = dataset(train=tuple(question("train", number) for number in range(9)))

    few, many = drawn(found, train=3).train, drawn(found, train=7).train

    assert len(few) == 3
    assert many[:3] == few
