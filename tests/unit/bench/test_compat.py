"""What `make compat` promises: nothing is left out, and what fails is seen."""

import re
from dataclasses import replace
from types import ModuleType

import pytest

from bench.compat import inside
from bench.compat.cases import CASES, expect_raises, expect_same
from bench.compat.client import Call, Client, Raises, Ranking, Target
from bench.compat.environments import ENVIRONMENTS, HERE

RANKING = [(1, 0.9), (0, 0.2)]
TARGET = Target(
    url="http://127.0.0.1:9",
    key="key",
    most=2,
    open_url="http://127.0.0.1:9",
    query="q",
    documents=["a", "b"],
    ranking=RANKING,
    logits=RANKING,
)


def rank(call: Call) -> Ranking:
    """As a service does that asks for a key and takes two documents."""
    if call.key != TARGET.key:
        raise PermissionError("no key")
    if len(call.documents) > TARGET.most:
        raise ValueError("too many")
    return RANKING


CLIENT = Client(
    name="client",
    version="1",
    rank=rank,
    unauthorized=Raises(kind=PermissionError, says="key"),
    too_many=Raises(kind=ValueError, says="many"),
)


def module(**contents: object) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(contents)
    return made


def test_every_module_of_clients_runs_somewhere():
    found = {path.stem for path in (HERE / "clients").glob("*.py")} - {"__init__"}

    assert {name for each in ENVIRONMENTS for name in each.modules} == found


def test_everything_is_pinned_and_nothing_brings_torch():
    pinned = [
        line.removesuffix(" \\")
        for path in HERE.glob("requirements-*.txt")
        for line in path.read_text().splitlines()
        if line and not line.startswith(("#", "    --hash=sha256:"))
    ]

    assert [line for line in pinned if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []
    assert not {"torch", "transformers"} & {line.partition("==")[0] for line in pinned}


def test_every_requirements_file_is_used():
    used = {name for each in ENVIRONMENTS for name in each.requirements}

    assert used == {path.name for path in HERE.glob("requirements-*.txt")}


def test_a_client_goes_through_every_case_and_functions_are_cases_too():
    def case_it_is_so(target: Target) -> None:
        """Nothing is wrong."""

    found = module(CLIENTS=[CLIENT], NAME="own", VERSION="2", case_it_is_so=case_it_is_so)

    cases = list(inside.cases_of(found))

    assert [(each.client, each.name) for each in cases] == [
        *(("client", name) for name in CASES),
        ("own", "it is so"),
    ]


@pytest.mark.parametrize("name", [name for name in CASES if "overload" not in name])
def test_a_client_passes_that_gets_our_ranking_and_tells_of_refusals(name: str):
    CASES[name](CLIENT, TARGET)


@pytest.mark.parametrize(
    "client",
    [
        replace(CLIENT, rank=lambda call: RANKING[::-1]),
        replace(CLIENT, rank=lambda call: RANKING[:1]),
        replace(CLIENT, rank=lambda call: [(1, 0.9), (0, 0.3)]),
    ],
)
def test_another_order_or_score_or_a_missing_document_fails(client: Client):
    (case, *_) = inside.cases_of(module(CLIENTS=[client]))

    assert not case.result(TARGET).passed


def test_the_same_ranking_is_the_same():
    expect_same([(1, 0.9 + 1e-9), (0, 0.2)], RANKING)


def test_an_answer_instead_of_a_refusal_fails():
    with pytest.raises(AssertionError, match="instead of ValueError"):
        expect_raises(Raises(kind=ValueError), lambda: RANKING)


def test_a_refusal_in_other_words_fails():
    def refuse() -> None:
        raise ValueError("something")

    with pytest.raises(AssertionError, match="is not in"):
        expect_raises(Raises(kind=ValueError, says="key"), refuse)


def test_a_module_without_cases_fails():
    with pytest.raises(LookupError):
        inside._some(iter([]), "misspelt")
