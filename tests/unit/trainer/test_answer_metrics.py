import pytest

from trainer.answer_metrics import containment, exact_match, token_f1


def test_token_f1_is_the_harmonic_mean_of_precision_and_recall():
    precision, recall = 2 / 3, 2 / 2

    assert token_f1("about 14 days", ["14 days"]) == pytest.approx(
        2 * precision * recall / (precision + recall)
    )


def test_token_f1_takes_the_best_gold_answer_and_ignores_case_and_articles():
    assert token_f1("The Rhine!", ["Main", "rhine"]) == 1


def test_token_f1_counts_a_repeated_word_as_often_as_both_have_it():
    # One "ha" of three is common: 2 * 1 / (3 + 1).
    assert token_f1("ha ha ha", ["ha"]) == pytest.approx(2 * 1 / (3 + 1))


@pytest.mark.parametrize("metric", [token_f1, exact_match, containment])
@pytest.mark.parametrize(("answer", "gold"), [("Main", ["Rhine"]), ("", ["Rhine"]), ("Rhine", [])])
def test_an_answer_with_nothing_in_common_is_worth_nothing(metric, answer, gold):
    assert metric(answer, gold) == 0


def test_an_exact_match_is_one_of_the_gold_answers_and_no_more_than_it():
    assert exact_match("the Rhine.", ["Main", "Rhine"]) == 1
    assert exact_match("the Rhine, I think", ["Rhine"]) == 0


def test_containment_is_of_words_in_a_row():
    assert containment("It is the river Rhine, I think", ["River Rhine"]) == 1
    assert containment("a river, the upper Rhine", ["river Rhine"]) == 0
    assert containment("Rhineland", ["Rhine"]) == 0
