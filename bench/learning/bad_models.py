"""Candidates that are worse than the champion, or no better: each kind wrong in a way of its own."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.learning import others
from bench.learning.arms import ARMS
from bench.learning.ground import Ground, Known, Lean, Leaning, wrong
from bench.learning.loop import Loop
from bench.learning.studio import State
from bench.learning.worlds import Floats
from contract.records import Candidate
from trainer.evidence import Scores
from trainer.splits import split

Kind: TypeAlias = Callable[[Ground], Iterator[Scores]]

TUNE_SHARE: Final = 0.3
"""Of the few questions that candidates are made from."""
PHRASES: Final = ("Our help pages", "and in the app", "in case the owner returns")
SMALL_LOSS: Final = -0.02
STRONGEST: Final = 8.0
"""Of a lean, in spreads of the champion's logits: nothing else counts then."""
HALVINGS: Final = 12
ROUNDING: Final = 1e-5
"""Of a truth: the temperatures at which two models hesitate alike are found by search."""
LOSSES: Final = (-0.005, -0.02, -0.05)
"""Of what a spoilt log is to make look good."""
TRIES: Final = 4
"""Times as many are made as are wanted: one that is better by chance is no bad one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A candidate and how much its greedy orders and its exploring policy lose."""

    kind: str
    scores: Scores
    truth: float
    truth_explored: float


def made(ground: Ground, kinds: Mapping[str, Kind], *, of_each: int) -> Iterator[Bad]:
    for kind, make in kinds.items():
        yield from islice(_bad_ones(ground, kind, islice(make(ground), TRIES * of_each)), of_each)


def _bad_ones(ground: Ground, kind: str, candidates: Iterator[Scores]) -> Iterator[Bad]:
    for source in candidates:
        scores = Known(source=source)
        truth, explored = ground.truth(scores), ground.truth_explored(scores)
        if max(truth, explored) <= ROUNDING:
            yield Bad(kind=kind, scores=scores, truth=truth, truth_explored=explored)


def at_truth(
    ground: Ground, name: str, lean: Lean, *, truth: float = SMALL_LOSS, own: float = 1.0
) -> Leaning:
    """The strength of a lean at which it loses about so much, by halving."""
    low, high = 0.0, STRONGEST * ground.spread
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried = Leaning(version=name, base=ground.champion, own=own, lean=lean, strength=middle)
        low, high = (middle, high) if ground.truth(tried) > truth else (low, middle)
    return replace(tried, version=f"{name} at {high:.3f}", strength=high)


def by_length(_query: str, candidates: Sequence[Candidate]) -> Floats:
    return np.array([len(each.text) / 100 for each in candidates])


def by_place(_query: str, candidates: Sequence[Candidate]) -> Floats:
    return -np.arange(len(candidates), dtype=np.float64)


def by_chance(seed: int) -> Lean:
    """Standard normal, the same for the same pair."""

    def lean(query: str, candidates: Sequence[Candidate]) -> Floats:
        told = "\n".join([query, *(each.text for each in candidates)])
        digest = hashlib.sha256(told.encode()).digest()
        drawn: Floats = np.random.default_rng([seed, *digest]).standard_normal(len(candidates))
        return drawn

    return lean


def by_phrase(phrase: str) -> Lean:
    return lambda _, candidates: np.array([float(phrase in each.text) for each in candidates])


def by_superseded(ground: Ground) -> Lean:
    """1 for a text that answers this query wrongly."""
    return lambda query, candidates: np.array(
        [float((query, each.text) in ground.superseded) for each in candidates]
    )


def _leaning(ground: Ground, name: str, lean: Lean, *, sign: float = 1.0) -> Iterator[Scores]:
    for share in (0.25, 1.0, STRONGEST):
        yield Leaning(
            version=f"{name} at {share} spreads",
            base=ground.champion,
            lean=lean,
            strength=sign * share * ground.spread,
        )


def _constant(ground: Ground) -> Iterator[Scores]:
    for constant in (0.0, 3.0):
        yield Leaning(
            version=f"always {constant}",
            base=ground.champion,
            own=0.0,
            lean=lambda _, candidates: np.ones(len(candidates)),
            strength=constant,
        )


def _flipped(ground: Ground) -> Iterator[Scores]:
    for scale in (1.0, 0.3, 3.0):
        yield Leaning(version=f"times -{scale}", base=ground.champion, own=-scale)


def _reversed_first_stage(ground: Ground) -> Iterator[Scores]:
    for scale in (-0.5, -1.0, -3.0):
        state = dict(ground.weights.state)
        state["fusion.first_stage"] = state["fusion.first_stage"] * scale
        yield replace(ground.weights, version=f"first stage times {scale}", state=state)


def _noisy(ground: Ground, sizes: Sequence[float]) -> Iterator[Scores]:
    for number in count():
        size, rng = sizes[number % len(sizes)], np.random.default_rng(number)
        state = {
            name: noisy(tensor, size, rng) if name.startswith("encoder.") else tensor
            for name, tensor in ground.weights.state.items()
        }
        yield ground.studio.snapshot(f"noise of {size}, seed {number}", state)


def noisy(tensor: Tensor, size: float, rng: np.random.Generator) -> Tensor:
    """size: standard deviation of what is added, as a share of the weights' own."""
    drawn = torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32))
    return tensor + size * tensor.std(correction=0) * drawn


def _shuffled_classifier(ground: Ground) -> Iterator[Scores]:
    name = "encoder.classifier.classifier.weight"
    for seed in count():
        state = dict(ground.weights.state)
        order = np.random.default_rng(seed).permutation(state[name].shape[1])
        state[name] = state[name][:, order]
        yield ground.studio.snapshot(f"shuffled, seed {seed}", state)


def _flipped_rewards(ground: Ground) -> Iterator[Scores]:
    for seed in count(1):
        loop = Loop.of(ground.learned, ARMS["ours"], ground.studio, seed=seed)
        loop.champion = ground.weights
        for _ in loop.events(TRIES * len(ground.learned.train)):
            pass
        flipped = [replace(each, reward=1 - each.reward) for each in loop.log]
        sides = split(
            flipped, champion=ground.weights.version, tune_share=TUNE_SHARE, gate_share=0.0
        )
        for trained in loop.candidates(sides):
            yield ground.studio.snapshot(
                f"flipped rewards, seed {seed}", _over(ground, trained.state)
            )


def _wrong_labels(ground: Ground) -> Iterator[Scores]:
    """Taught that the superseded text is the right one."""
    mislabelled = replace(
        ground.learned,
        train=tuple(replace(each, gold=frozenset(wrong(each))) for each in ground.learned.train),
    )
    for events in (32, 100, 300):
        with ground.studio.wearing(ground.weights.state):
            taught = others.gold_labels(mislabelled, ground.studio, events=events, seed=events)
        yield replace(taught, version=f"{events} labels of the wrong twin")


def _too_large_a_step(ground: Ground) -> Iterator[Scores]:
    """Where a good step leads, a hundred times as far."""
    with ground.studio.wearing(ground.weights.state):
        taught = others.gold_labels(ground.learned, ground.studio, events=32, seed=5)
    for times in (100.0, 30.0, 300.0):
        yield ground.studio.snapshot(
            f"{times:.0f} times the step", stepped(ground.weights.state, taught.state, times)
        )


def stepped(start: State, end: State, times: float) -> State:
    """The way from start to end, so many times as far: start + times (end - start)."""
    return {name: start[name] + times * (end[name] - start[name]) for name in start}


def _over(ground: Ground, state: State) -> State:
    return {**ground.weights.state, **state}


def _starts(ground: Ground) -> Iterator[Scores]:
    yield replace(ground.studio.start, version="the base")
    for share in (0.8, 0.5):
        state = stepped(ground.weights.state, ground.studio.start.state, share)
        yield ground.studio.snapshot(f"{share:.0%} of the way back to the base", state)


def _small_losses(ground: Ground) -> Iterator[Scores]:
    yield at_truth(ground, "superseded", by_superseded(ground))
    yield at_truth(ground, "long", by_length)
    yield at_truth(ground, "chance", by_chance(0))
    yield at_truth(ground, "place", by_place)


def _itself(ground: Ground) -> Iterator[Scores]:
    for scale in (1.0, 3.0, 0.3):
        yield Leaning(version=f"champion times {scale}", base=ground.champion, own=scale)


def _jitter(ground: Ground) -> Iterator[Scores]:
    for seed in count():
        for share in (0.01, 0.05):
            yield Leaning(
                version=f"jitter of {share}, seed {seed}",
                base=ground.champion,
                lean=by_chance(seed),
                strength=share * ground.spread,
            )


def _phrase(ground: Ground) -> Iterator[Scores]:
    for phrase in PHRASES:
        yield Leaning(
            version=f"likes {phrase!r}",
            base=ground.champion,
            lean=by_phrase(phrase),
            strength=ground.spread,
        )


def _place_only(ground: Ground) -> Iterator[Scores]:
    for name, strength in (("the first stage's order", 1.0), ("its reverse", -1.0)):
        yield Leaning(version=name, base=ground.champion, own=0.0, lean=by_place, strength=strength)


KINDS: Final[Mapping[str, Kind]] = {
    "constant scores": _constant,
    "sign flipped": _flipped,
    "first stage reversed": _reversed_first_stage,
    "noise in the last layer": lambda ground: _noisy(ground, (0.05, 0.1, 0.3)),
    "classifier shuffled": _shuffled_classifier,
    "trained on flipped rewards": _flipped_rewards,
    "trained on labels of the wrong twin": _wrong_labels,
    "too large a step": _too_large_a_step,
    "prefers the longest text": lambda ground: _leaning(ground, "long", by_length),
    "prefers the shortest text": lambda ground: _leaning(ground, "short", by_length, sign=-1.0),
    "prefers the superseded text": lambda ground: _leaning(
        ground, "superseded", by_superseded(ground)
    ),
    "prefers a phrase": _phrase,
    "position only": _place_only,
    "noise on its scores": lambda ground: _leaning(ground, "chance", by_chance(1)),
    "an earlier version": _starts,
    "a truth of -.02": _small_losses,
    "the champion itself": _itself,
    "the champion with a tiny jitter": _jitter,
    "a tiny jitter of the weights": lambda ground: _noisy(ground, (0.001, 0.003)),
}


def victims(ground: Ground) -> list[Bad]:
    """They lean to the superseded text, of which the golden set knows nothing: only a sound log tells."""

    def leaning(ground: Ground) -> Iterator[Scores]:
        for loss in LOSSES:
            yield at_truth(ground, "superseded", by_superseded(ground), truth=loss)

    return list(made(ground, {"victim": leaning}, of_each=len(LOSSES)))
