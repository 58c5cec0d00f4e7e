"""What has to hold for every client."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isclose
from typing import Final

from bench.compat.client import Call, Client, Raises, Ranking, Target
from bench.compat.overload import overloaded

RETRY_AFTER_S: Final = 1.0
"""The least that the service ever asks for."""
TOLERANCE: Final = 1e-6
"""The same pairs in other batches: float32."""


def ranks_as_ours(client: Client, target: Target) -> None:
    expect_same(client.rank(_call(client, target)), _expected(client, target))


def tells_of_a_wrong_key(client: Client, target: Target) -> None:
    expect_raises(client.unauthorized, lambda: client.rank(replace(target.call, key="wrong")))


def tells_of_too_many_documents(client: Client, target: Target) -> None:
    documents = [f"document {number}" for number in range(target.most + 1)]

    expect_raises(
        client.too_many,
        lambda: client.rank(replace(_call(client, target), documents=documents)),
    )


def tells_of_overload(client: Client, target: Target) -> None:
    """Or waits and asks again, where the client does that by itself."""
    with overloaded(target.open_url):
        if client.overloaded is not None:
            expect_raises(client.overloaded, lambda: client.rank(target.open_call))
            return
        start = time.monotonic()
        found = client.rank(target.open_call)
        waited_s = time.monotonic() - start
    if waited_s < RETRY_AFTER_S:
        raise AssertionError(f"asked again after {waited_s:.2f} s")
    expect_same(found, _expected(client, target))


def _call(client: Client, target: Target) -> Call:
    return target.call if client.sends_key else target.open_call


def _expected(client: Client, target: Target) -> Ranking:
    return target.logits if client.gives_logits else target.ranking


CASES: Final[Mapping[str, Callable[[Client, Target], None]]] = {
    "ranks as /v1/rerank does": ranks_as_ours,
    "tells of a wrong key": tells_of_a_wrong_key,
    "tells of too many documents": tells_of_too_many_documents,
    "tells of an overload or waits for its end": tells_of_overload,
}


def expect_same(found: Ranking, expected: Ranking) -> None:
    """The same order, and scores."""
    if [index for index, _ in found] != [index for index, _ in expected]:
        raise AssertionError(f"order: {found} instead of {expected}")
    for (_, score), (_, right) in zip(found, expected, strict=True):
        if not isclose(score, right, abs_tol=TOLERANCE):
            raise AssertionError(f"scores: {found} instead of {expected}")


def expect_raises(expected: Raises, action: Callable[[], object]) -> None:
    try:
        found = action()
    except expected.kind as error:
        if expected.says not in str(error):
            raise AssertionError(f"{expected.says!r} is not in {error!r}") from error
    else:
        raise AssertionError(f"{found!r} instead of {expected.kind.__name__}")
