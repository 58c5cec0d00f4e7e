"""Verdicts as the database keeps them, and what they cost the rounds after."""

import pytest

from contract.rewards import RewardSpec
from trainer import evaluations, gate, runs
from trainer.gate import Answer, Kind
from trainer.join import Window
from trainer.replay import Pair, Replay

GAIN = Replay(
    pairs=[
        Pair(query=f"{number}", champion=("old",), candidate=("new",), cluster=number)
        for number in range(100)
    ],
    value=lambda _, documents: float(documents == ("new",)),
    budget=200,
)


@pytest.fixture
def connection(engine):
    with engine.begin() as connection:
        yield connection


def begin(connection):
    window = Window.of("default", RewardSpec(), xid_from=0, xid_to=1)
    return runs.start(connection, window, champion="base", token=1, seed=0, config={})


def test_the_verdict_of_a_replay_is_stored_with_its_evidence_and_decides(connection):
    run = begin(connection)
    verdicts = [gate.parity(1.0), gate.replay(GAIN, alpha=0.03)]

    evaluations.record(connection, run, "better", verdicts)

    judgement = evaluations.judgement(connection, run, "better")
    assert judgement is not None
    assert (judgement.kind, judgement.answer) == (Kind.REPLAY, Answer.PASS)
    assert judgement.low == pytest.approx(verdicts[-1].low)


def test_a_replay_spends_of_alpha_as_asking_the_log_does(connection):
    first, second = begin(connection), begin(connection)

    evaluations.record(connection, first, "better", [gate.replay(GAIN, alpha=0.03)])

    assert runs.evidence_spent(connection, second) == 1
