import json
import random
from itertools import permutations

import numpy as np
import pytest

from bench.learning import cells, summary, truth, worlds
from bench.learning.arms import ARMS
from bench.learning.cells import Cell, Done
from bench.learning.loop import Played, Serving, rungs
from bench.learning.studio import Studio
from bench.learning.worlds import Noise, Question, World
from contract.records import Candidate
from trainer.learner import Capacity, Learner, Listing


def question(*worth, gold=(), **changes):
    """Its documents are worth so much; None is passed over."""
    candidates = tuple(Candidate(text=f"text {at}", score=float(-at)) for at in range(len(worth)))
    return Question(
        **{
            "id": "q",
            "query": "How long?",
            "candidates": candidates,
            "worth": worth,
            "gold": frozenset(gold),
            "cluster": "c",
        }
        | changes
    )


def world(*questions, used=3, discounted=False):
    return World(
        name="small", train=questions, held_out=questions, used=used, discounted=discounted
    )


def served(version, *, since, values):
    return Serving(version=version, since=since, round=0, values=np.array(values))


def test_an_answer_is_made_of_the_first_used_document_that_is_not_passed_over():
    asked = question(None, 0.25, 1.0)

    outcome = world(asked).outcome(asked, [0, 1, 2])

    assert (outcome.reward, outcome.cited) == (0.25, 1)


def test_a_document_below_what_is_used_answers_nothing():
    asked = question(None, None, 1.0)

    outcome = world(asked, used=2).outcome(asked, [0, 1, 2])

    assert (outcome.reward, outcome.cited) == (0.0, None)


def test_an_answer_from_the_second_place_is_worth_less_where_places_count():
    asked = question(None, 1.0)

    reward = world(asked, discounted=True).outcome(asked, [0, 1]).reward

    assert reward == pytest.approx(1 / np.log2(3))


def test_the_best_order_puts_first_what_this_reader_answers_best_from():
    asked = question(0.1, None, 0.9)

    assert world(asked).best(asked) == [2, 0, 1]


def test_a_reader_that_is_asked_again_says_what_the_order_is_worth():
    asked = question(0.25, 1.0)

    assert world(asked, used=1).read("How long?", ["text 1"]) == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_a_twin_stands_beside_the_gold_passage_and_answers_wrongly(seed):
    asked = question(None, 1.0, None, gold=[1])

    twin = worlds._with_twin(asked, "seen", random.Random(seed))

    (gold,) = twin.gold
    (outdated,) = [at for at, worth in enumerate(twin.worth) if worth == 0.0]
    assert twin.worth[gold] == 1.0
    assert abs(gold - outdated) == 1
    assert len(twin.candidates) == 3
    assert any(marker in twin.candidates[outdated].text for marker in worlds.MARKERS["seen"])
    assert twin.candidates[outdated].score == twin.candidates[gold].score


def test_markers_of_unseen_twins_are_in_no_twin_to_learn_from():
    assert not set(worlds.MARKERS["seen"]) & set(worlds.MARKERS["unseen"])


def test_rewards_are_missing_and_flipped_as_often_as_is_said():
    rng = np.random.default_rng(0)

    seen = [Noise(missing=0.4, flipped=0.1).seen(1.0, rng) for _ in range(20_000)]

    assert seen.count(None) / 20_000 == pytest.approx(0.4, abs=0.02)
    assert seen.count(0.0) / 20_000 == pytest.approx(0.6 * 0.1, abs=0.01)


def test_what_served_after_so_many_events_is_the_last_version_promoted_by_then():
    played = Played(
        served=[served("start", since=0, values=[0.5]), served("next", since=1250, values=[0.7])],
        rounds=[],
    )

    assert [played.at(events).version for events in (500, 1249, 1250)] == ["start", "start", "next"]


def test_a_cell_is_read_as_it_was_written(tmp_path):
    cell = Cell(world="handbook", arm="ours", seed=1, events=2000)
    done = Done(
        cell=cell,
        played=Played(served=[served("start", since=0, values=[0.25, 1.0])], rounds=[{"round": 1}]),
    )

    done.write(cell.path(tmp_path))

    (read,) = cells.done(tmp_path)
    assert read.cell == cell
    assert read.played.rounds == [{"round": 1}]
    assert read.played.served[0].values.tolist() == [0.25, 1.0]


def written(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture
def played(tmp_path):
    """A start that answers one of two questions, and a run that comes to answer both."""
    start = served("start", since=0, values=[0.0, 1.0])
    after = served("next", since=1250, values=[1.0, 1.0])
    for arm, seed, versions in (("frozen", 0, [start]), ("ours", 1, [start, after])):
        cell = Cell(world="handbook", arm=arm, seed=seed, events=2000 * seed)
        done = Done(cell=cell, played=Played(served=versions, rounds=[]))
        done.write(cell.path(tmp_path))
    asked = [question(1.0, cluster="a", group="seen"), question(1.0, cluster="b", group="unseen")]
    summary.note(tmp_path, "handbook", asked)
    summary.write(tmp_path, tmp_path)
    return tmp_path


def test_the_summary_has_a_row_for_each_checkpoint_and_for_each_promotion(played):
    rows = [
        (row["events"], row["value"])
        for row in written(played, "summary")
        if row["arm"] == "ours" and row["split"] == "held-out"
    ]

    assert rows == [(0, 0.5), (500, 0.5), (1000, 0.5), (1250, 1.0), (2000, 1.0)]


def test_gains_are_over_the_start_and_told_for_each_group_apart(played):
    gains = {row["split"]: row["gain"] for row in written(played, "gains") if row["events"] == 2000}

    assert gains == {"held-out": 0.5, "held-out, seen": 1.0, "held-out, unseen": 0.0}


def test_each_world_has_a_picture_beside_its_gains(played):
    assert (played / "handbook.png").read_bytes().startswith(b"\x89PNG")


def test_a_gain_is_paired_by_question_and_clustered_over_seeds():
    # Two questions, two seeds: gains of (.5, 0) and (.5, 1) are .5 and .5 by question.
    gain = summary.gain(
        [np.array([0.5, 0.0]), np.array([0.5, 1.0])], np.array([0.0, 0.0]), clusters=[0, 1]
    )

    assert (gain.value, gain.standard_error) == (0.5, 0.0)


@pytest.fixture(scope="module")
def studio():
    return Studio(max_bytes=1 << 24)


def test_a_snapshot_of_lower_layers_scores_as_the_reranker_with_them(studio):
    documents = [Candidate(text="Ten days."), Candidate(text="The office is closed.")]
    listing = Listing.of("How long is the leave?", documents)
    name = "encoder.classifier.bert.encoder.layer.0.attention.self.query.weight"
    scale = {name: 3 * dict(studio.reranker.named_parameters())[name].detach()}

    plain, deeper = studio.start, studio.snapshot("deeper", scale)
    own, other = (each.logits("How long is the leave?", documents) for each in (plain, deeper))

    def exact():
        with Learner.of(studio.reranker, Capacity.EVERYTHING, studio.activations, []) as learner:
            return learner.scored([listing])[0].numpy()

    with studio.wearing(scale):
        assert other == pytest.approx(exact(), abs=1e-4)
    # Cached activations are kept in half precision.
    assert own == pytest.approx(exact(), abs=1e-2)
    assert (plain.is_whole, deeper.is_whole) == (False, True)
    assert np.abs(own - other).max() > 0.1


@pytest.mark.parametrize("arm", ["lora", "everything"])
def test_the_arms_of_larger_rungs_are_tried_on_however_little(arm):
    (rung,) = rungs(ARMS[arm])

    assert (rung.capacity, rung.min_rewards, rung.kls) == (arm, 0, (0.02, 0.1))


def test_prefixes_of_a_plackett_luce_policy_have_probabilities_that_sum_to_1():
    prefixes = np.array(list(permutations(range(4), 2)))

    probabilities = truth._probabilities(np.array([0.3, -1.0, 2.0, 0.0]), prefixes)

    assert probabilities.sum() == pytest.approx(1.0)
