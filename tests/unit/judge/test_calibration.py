from math import sqrt

import numpy as np
import pytest

from judge.calibration import Estimate, Figures, Table, corrected, kappa, rate

Z = 1.959964
"""The normal distribution's 97.5 % point."""


def table(tp, fn, fp, tn):
    return Table(true_positives=tp, false_negatives=fn, false_positives=fp, true_negatives=tn)


TABLE = table(40, 10, 5, 45)


def test_gold_and_scores_from_the_threshold_on_are_good():
    pairs = [(1, 0.5), (0.5, 0.49), (0.4, 0.9), (0, 0), (1, 1)]

    assert Table.of(pairs, threshold=0.5) == table(2, 1, 1, 1)


def test_figures_of_a_table_worked_by_hand():
    figures = Figures.of(TABLE)

    assert figures.agreement is not None
    assert figures.true_positive_rate is not None
    assert figures.true_negative_rate is not None
    assert figures.false_positive_rate is not None
    assert figures.agreement.value == (40 + 45) / 100
    assert figures.true_positive_rate.value == 40 / (40 + 10)
    assert figures.true_negative_rate.value == 45 / (5 + 45)
    assert figures.false_positive_rate.value == 5 / (5 + 45)


def test_a_rate_has_wilsons_interval():
    p, n = 0.8, 50
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)

    found = rate(40, n)

    assert found is not None
    # Z is given to seven digits.
    assert (found.value, found.low, found.high) == pytest.approx(
        (p, middle - half, middle + half), abs=1e-6
    )


def test_a_rate_of_nothing_is_unknown_and_not_zero():
    assert rate(0, 0) is None
    assert Figures.of(table(3, 1, 0, 0)).true_negative_rate is None


def test_kappa_is_the_agreement_beyond_chance():
    # The judge says good 45 times of 100, the gold 50 times: by chance both say the same in a half.
    by_chance = 0.50 * 0.45 + 0.50 * 0.55

    found = kappa(TABLE)

    assert found is not None
    assert found.value == pytest.approx((0.85 - by_chance) / (1 - by_chance))


def test_kappas_interval_is_that_of_fleiss_cohen_and_everitt_with_a_half_in_each_cell():
    n = 102
    pp, pn, np_, nn = 40.5 / n, 10.5 / n, 5.5 / n, 45.5 / n
    row, col = pp + pn, pp + np_
    p_o, p_e = pp + nn, row * col + (1 - row) * (1 - col)
    middle = (p_o - p_e) / (1 - p_e)
    agreeing = pp * ((1 - p_e) - (row + col) * (1 - p_o)) ** 2
    agreeing += nn * ((1 - p_e) - (2 - row - col) * (1 - p_o)) ** 2
    differing = pn * (col + 1 - row) ** 2 + np_ * (1 - col + row) ** 2
    rest = (p_o * p_e - 2 * p_e + p_o) ** 2
    variance = (agreeing + (1 - p_o) ** 2 * differing - rest) / (n * (1 - p_e) ** 4)

    found = kappa(TABLE)

    assert found is not None
    assert found.low == pytest.approx(middle - Z * sqrt(variance), abs=1e-6)
    assert found.high == pytest.approx(middle + Z * sqrt(variance), abs=1e-6)


def test_ten_answers_without_an_error_make_no_judge_perfect():
    found = kappa(table(5, 0, 0, 5))

    assert found is not None
    assert found.value == found.high == 1
    assert found.low < 0.9


@pytest.mark.parametrize("one_class", [table(0, 0, 0, 0), table(9, 0, 0, 0), table(0, 0, 0, 9)])
def test_where_all_is_one_class_no_agreement_is_beyond_chance(one_class):
    assert kappa(one_class) is None


def test_a_share_is_corrected_for_what_the_judge_misses_and_what_it_lets_pass():
    # 30 % are good: .3 * .8 are called so, and .7 * .1 of the bad ones too.
    found = corrected(310, 1000, table=TABLE)

    assert found is not None
    assert found.value == pytest.approx((0.31 + 0.9 - 1) / (0.8 + 0.9 - 1)) == pytest.approx(0.3)


def test_its_interval_is_that_of_lang_and_reiczigel():
    raw = (310 + Z**2 / 2) / (1000 + Z**2)
    tpr, tnr = 41 / 52, 46 / 52
    share = (raw + tnr - 1) / (tpr + tnr - 1)
    of_tpr, of_tnr = tpr * (1 - tpr) / 52, tnr * (1 - tnr) / 52
    of_raw = raw * (1 - raw) / (1000 + Z**2)
    moved = share + 2 * Z**2 * (share * of_tpr - (1 - share) * of_tnr)
    variance = (of_raw + share**2 * of_tpr + (1 - share) ** 2 * of_tnr) / (tpr + tnr - 1) ** 2

    found = corrected(310, 1000, table=TABLE)

    assert found is not None
    assert found.low == pytest.approx(moved - Z * sqrt(variance), abs=1e-6)
    assert found.high == pytest.approx(moved + Z * sqrt(variance), abs=1e-6)


def test_shares_are_cut_to_what_a_share_can_be():
    none, all_ = corrected(0, 100, table=TABLE), corrected(100, 100, table=TABLE)

    assert none is not None
    assert all_ is not None
    assert (none.value, none.low) == (0, 0)
    assert (all_.value, all_.high) == (1, 1)


@pytest.mark.parametrize(
    "useless",
    [
        table(25, 25, 25, 25),  # tosses a coin
        table(10, 40, 45, 5),  # says the opposite
        table(2, 0, 95, 5),  # tpr + tnr = 1.05, of two good answers
        table(50, 0, 0, 0),  # saw no bad answer
        table(0, 0, 0, 50),  # saw no good answer
    ],
)
def test_a_judge_that_knows_nothing_corrects_nothing(useless):
    assert corrected(60, 100, table=useless) is None


def test_nothing_judged_is_not_corrected():
    assert corrected(0, 0, table=TABLE) is None


def test_over_the_gold_itself_the_corrected_share_is_that_of_the_gold():
    found = corrected(45, 100, table=TABLE)

    assert found is not None
    assert found.value == pytest.approx(50 / 100)


@pytest.mark.parametrize(
    ("share", "tpr", "tnr", "good", "bad", "n"),
    [
        (0.30, 0.85, 0.80, 60, 60, 200),
        (0.70, 0.90, 0.75, 50, 50, 1000),
        (0.05, 0.90, 0.95, 40, 200, 500),
    ],
)
def test_known_rates_and_shares_lie_in_their_intervals_as_often_as_promised(
    share, tpr, tnr, good, bad, n
):
    rng = np.random.default_rng(11)
    held = {"tpr": 0, "tnr": 0, "kappa": 0, "share": 0}
    odds = good / (good + bad)
    agreed = odds * tpr + (1 - odds) * tnr
    called = odds * tpr + (1 - odds) * (1 - tnr)
    by_chance = odds * called + (1 - odds) * (1 - called)
    known = {
        "tpr": tpr,
        "tnr": tnr,
        "kappa": (agreed - by_chance) / (1 - by_chance),
        "share": share,
    }
    for _ in range(400):
        tp, fp = int(rng.binomial(good, tpr)), int(rng.binomial(bad, 1 - tnr))
        drawn = table(tp, good - tp, fp, bad - fp)
        positives = int(rng.binomial(n, share * tpr + (1 - share) * (1 - tnr)))
        figures = Figures.of(drawn)
        found = {
            "tpr": figures.true_positive_rate,
            "tnr": figures.true_negative_rate,
            "kappa": figures.kappa,
            "share": corrected(positives, n, table=drawn),
        }
        for name, estimate in found.items():
            held[name] += estimate is not None and _holds(estimate, known[name])

    # .95 promised; of 400 samples, three standard errors are .033, and Wilson's interval wavers by as much.
    assert {name: count / 400 for name, count in held.items() if count / 400 < 0.91} == {}


def _holds(estimate: Estimate, value: float) -> bool:
    return estimate.low <= value <= estimate.high
