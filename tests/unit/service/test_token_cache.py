from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.tokens import PairTokenizer, Tokens
from service import token_cache
from service.metrics import Metrics
from service.token_cache import Remembering, TokenCache
from tests import models

MAX_LENGTH = 32


class Letters:
    """A token for each letter; counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, documents: Sequence[str]) -> list[Tokens]:
        self.asked += documents
        return [
            Tokens(ids=np.array([ord(letter) for letter in text], dtype=np.int32), is_whole=True)
            for text in documents
        ]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def letters() -> Letters:
    return Letters()


def part(cache: TokenCache, tenant: str = "t", **changes: Any) -> Remembering:
    fields: dict[str, Any] = {"tokenizer": "a hash", "max_length": MAX_LENGTH}
    found = cache.of(tenant, **fields | changes)
    assert found is not None
    return found


def entry(letters: int) -> int:
    """Bytes that a document takes: four for each id, and the same for every entry."""
    return 4 * letters + token_cache._ENTRY_BYTES


def test_a_document_is_tokenised_once(metrics: Metrics, letters: Letters) -> None:
    cache = part(TokenCache(metrics, max_bytes=10_000))

    cache.recall(["one", "two"], letters)
    found = cache.recall(["two", "three", "one", "three"], letters)

    assert letters.asked == ["one", "two", "three"]
    assert [bytes(each.ids.tolist()).decode() for each in found] == ["two", "three", "one", "three"]
    value = metrics.registry.get_sample_value
    assert value("rankloop_token_cache_hits_total") == 3  # two, one, and three for the second time
    assert value("rankloop_token_cache_misses_total") == 3
    assert value("rankloop_token_cache_bytes") == entry(3) + entry(3) + entry(5)


def test_the_one_that_was_not_used_for_longest_leaves_first(
    metrics: Metrics, letters: Letters
) -> None:
    cache = part(TokenCache(metrics, max_bytes=2 * entry(3)))
    cache.recall(["old", "new"], letters)
    cache.recall(["old"], letters)

    cache.recall(["too"], letters)

    assert letters.asked == ["old", "new", "too"]
    cache.recall(["old", "too", "new"], letters)
    assert letters.asked == ["old", "new", "too", "new"]
    assert metrics.registry.get_sample_value("rankloop_token_cache_bytes") == 2 * entry(3)


def test_what_is_larger_than_all_of_it_is_answered_and_not_kept(
    metrics: Metrics, letters: Letters
) -> None:
    cache = part(TokenCache(metrics, max_bytes=entry(3)))
    cache.recall(["old"], letters)

    (large,) = cache.recall(["four"], letters)

    assert len(large.ids) == 4
    cache.recall(["old"], letters)
    assert letters.asked == ["old", "four"]


@pytest.mark.parametrize(
    "other", [{"tenant": "another"}, {"tokenizer": "another"}, {"max_length": MAX_LENGTH + 1}]
)
def test_nothing_is_shared_between(
    other: dict[str, Any], metrics: Metrics, letters: Letters
) -> None:
    whole = TokenCache(metrics, max_bytes=10_000)
    part(whole).recall(["one"], letters)

    part(whole, **other).recall(["one"], letters)
    part(whole).recall(["one"], letters)

    assert letters.asked == ["one", "one"]


def test_the_key_is_another_in_each_process(metrics: Metrics) -> None:
    first, second = (part(TokenCache(metrics, max_bytes=10_000)) for _ in range(2))

    assert first.cache.key("one", first.scope) != second.cache.key("one", first.scope)


def test_without_bytes_there_is_no_cache(metrics: Metrics) -> None:
    assert TokenCache(metrics, max_bytes=0).of("t", tokenizer="a hash", max_length=1) is None


@given(st.lists(st.lists(st.text("ab ", max_size=40), max_size=6), max_size=6))
def test_pairs_are_the_same_with_it(requests: list[list[str]]) -> None:
    tokenizer = PairTokenizer(models.tokenizer(), max_length=MAX_LENGTH)
    cache = part(TokenCache(Metrics(), max_bytes=4 * entry(20)))

    for number, documents in enumerate(requests):
        query = "q" * (1 + number)  # leaves less room each time
        found = tokenizer.pairs(query, documents, memory=cache)

        for pair, expected in zip(found, tokenizer.pairs(query, documents), strict=True):
            assert pair.ids.tolist() == expected.ids.tolist()
            assert pair.type_ids.tolist() == expected.type_ids.tolist()
            assert pair.truncated == expected.truncated


def test_a_document_cut_by_characters_stays_truncated(metrics: Metrics) -> None:
    tokenizer = PairTokenizer(models.tokenizer(), max_length=MAX_LENGTH)
    cache = part(TokenCache(metrics, max_bytes=10_000))
    long = " " * 8 * MAX_LENGTH + "b"  # its only token is beyond the characters that are read

    for _ in range(2):
        (pair,) = tokenizer.pairs("q", [long], memory=cache)
        assert pair.truncated
    assert metrics.registry.get_sample_value("rankloop_token_cache_hits_total") == 1


def test_several_threads_get_what_they_asked_for(metrics: Metrics, letters: Letters) -> None:
    cache = part(TokenCache(metrics, max_bytes=5 * entry(2)))
    names = [f"{number:02}" for number in range(12)]

    def asked(shift: int) -> list[str]:
        found = cache.recall(names[shift:] + names[:shift], letters)
        return [bytes(each.ids.tolist()).decode() for each in found]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(asked, list(range(12)) * 20))

    assert answers == [names[shift:] + names[:shift] for shift in range(12)] * 20
    assert metrics.registry.get_sample_value("rankloop_token_cache_bytes") == 5 * entry(2)
