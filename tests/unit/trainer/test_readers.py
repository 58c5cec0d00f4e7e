from dataclasses import replace

import numpy as np

from tests import trainees
from trainer import readers


def answered(*by):
    """An answer of each of these readers, oldest first."""
    example = trainees.example(
        query="q",
        documents=["a", "b"],
        scores=np.array([1.0, 0.0]),
        reward=lambda _: 1.0,
        rng=np.random.default_rng(0),
    )
    return [replace(example, reader=reader) for reader in by]


def test_what_a_reader_that_is_gone_made_of_the_documents_is_left_out():
    examples = answered(*["old"] * 300, *["new"] * readers.NEWEST)

    assert [each.reader for each in readers.of_today(examples)] == ["new"] * readers.NEWEST


def test_a_reader_that_seldom_answers_is_not_gone():
    examples = answered(*["old"] * 300, "rare", *["old"] * (readers.NEWEST - 1))

    assert readers.of_today(examples) == examples


def test_where_nobody_says_who_answered_nothing_is_left_out():
    examples = answered(*[None] * 300, *["new"] * readers.NEWEST)

    assert readers.of_today(examples) == examples


def test_an_app_that_stops_saying_who_answered_loses_nothing():
    examples = answered(*["old"] * 300, *[None] * readers.NEWEST)

    assert readers.of_today(examples) == examples


def test_a_new_reader_alone_decides_only_once_it_made_all_of_the_newest_answers():
    examples = answered("old", *["new"] * (readers.NEWEST - 1))

    assert readers.of_today(examples) == examples
