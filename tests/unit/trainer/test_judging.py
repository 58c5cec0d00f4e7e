from dataclasses import replace

import numpy as np

from tests import trainees
from trainer.examples import Example
from trainer.judging import served_precision


def served(precision: str) -> Example:
    example = trainees.example(
        query="q",
        documents=["one", "two"],
        scores=np.array([1.0, 0.0]),
        reward=lambda _: 1.0,
        rng=np.random.default_rng(0),
    )
    return replace(example, decision=replace(example.decision, precision=precision))


def test_a_round_judges_by_the_precision_that_served_most():
    examples = [served(each) for each in ("int8", "float32", "int8")]

    assert served_precision(examples) == "int8"
    assert served_precision([]) == "float32"


def test_what_a_gpu_served_without_padding_is_judged_with_it():
    examples = [
        served(each) for each in ("float16-packed", "float32", "float16", "float32", "float16")
    ]

    # Three of float16, one of them packed, to two of float32.
    assert served_precision(examples) == "float16"
