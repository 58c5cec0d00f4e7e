from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from service.bench import report
from service.bench.look import Look, overlap
from service.bench.measure import Measured
from service.bench.rig import thread_counts
from service.bench.trial import Arm, Trial

DEFAULT = Arm(precision="float32", threads=4, batch_tokens=1024)
QUICK = Arm(precision="int8", threads=2, batch_tokens=1024)
LARGER = Arm(precision="float32", threads=4, batch_tokens=4096)
DROPPED = Arm(precision="float32", threads=1, batch_tokens=512)

LOOK = Look(small_s=0.0123, large_s=0.06, overlap=1.0, peak_bytes=200 << 20)
FOUND = Measured(
    version="f" * 64,
    provider="CPUExecutionProvider",
    cores=4,
    default=DEFAULT,
    recommended=QUICK,
    trial=Trial(
        reference=DEFAULT,
        seconds={DEFAULT: [1.0] * 8, QUICK: [0.5] * 8, DROPPED: [4.0, 4.0]},
    ),
    looks={DEFAULT: LOOK, QUICK: replace(LOOK, overlap=0.9)},
    documents_s=100.0,
    tokens_s=15_000.0,
    min_overlap=0.0,
)


def test_the_heading_says_what_was_measured_and_what_was_not() -> None:
    assert report.heading(FOUND) == (
        "version ffffffffffff on CPUExecutionProvider, 4 cores, documents of 150 tokens with their query;"
        " without HTTP and tokenising"
    )


def test_what_was_measured_is_a_table_with_the_quickest_first() -> None:
    console = Console(width=100)
    with console.capture() as said:
        console.print(report.table(FOUND))

    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in said.get().splitlines()
        if line.startswith("│")
    ]
    assert rows == [
        ["int8", "2", "1024", "200", "12.3", "60.0", "90.0", "200"],
        ["float32", "4", "1024", "100", "12.3", "60.0", "100.0", "200"],
        ["float32", "1", "512", "25", "", "", "", ""],
    ]


def test_the_settings_are_lines_to_paste_and_0_leaves_the_choice_to_the_service() -> None:
    assert list(report.settings(FOUND)) == [
        "RANKLOOP_SERVICE_THREADS=2",
        "RANKLOOP_SERVICE_BATCH_TOKENS=0",
        "RANKLOOP_SERVICE_PRECISION=int8",
    ]
    assert list(report.settings(replace(FOUND, recommended=LARGER))) == [
        "RANKLOOP_SERVICE_THREADS=0",
        "RANKLOOP_SERVICE_BATCH_TOKENS=4096",
        "RANKLOOP_SERVICE_PRECISION=auto",
    ]


def test_it_says_by_how_much_the_recommended_settings_are_quicker() -> None:
    (reason,) = report.reasons(FOUND)

    assert reason == (
        "recommended is 2.00 times (2.00 to 2.00) as fast as the default, float32 with 4 threads and 1024 tokens"
    )


def test_it_says_when_the_quickest_is_within_noise() -> None:
    noisy = Trial(
        reference=DEFAULT,
        seconds={DEFAULT: [1.0, 0.9, 1.1] * 3, QUICK: [0.9, 1.0, 1.0] * 3},
    )

    reasons = list(report.reasons(replace(FOUND, trial=noisy, recommended=DEFAULT)))

    assert reasons[0].startswith("int8 with 2 threads and 1024 tokens was no better than by noise")
    assert reasons[1] == "recommended is what the service does by default"


def test_it_says_which_precision_ranks_too_differently() -> None:
    reasons = list(report.reasons(replace(FOUND, recommended=DEFAULT, min_overlap=0.95)))

    assert reasons == [
        "int8 is not recommended: under 95% of float32's first 10 of 50 documents are among its own",
        "recommended is what the service does by default",
    ]


def test_a_million_documents_cost_their_share_of_an_hour() -> None:
    # 200 documents a second are 720,000 an hour.
    assert report.of_a_million(200, price=0.36) == pytest.approx(0.5)
    assert list(report.cost(FOUND, price=0.36)) == [
        "200 documents a second, 30,000 tokens: a million documents take 83 minutes of this machine",
        "at 0.36 an hour, a million documents cost 0.5",
    ]
    assert len(list(report.cost(FOUND, price=None))) == 1


def test_the_file_has_the_interval_of_each_comparison() -> None:
    said = report.as_json(FOUND, price=None)

    quickest, _, dropped = said["tried"]
    assert quickest["times_as_long_as_default"] == pytest.approx(
        {"value": 0.5, "low": 0.5, "high": 0.5}
    )
    assert quickest["look"]["overlap"] == 0.9
    assert (dropped["rounds"], dropped["look"]) == (2, None)
    assert said["settings"]["RANKLOOP_SERVICE_PRECISION"] == "int8"
    assert said["price_of_a_million"] is None


def test_the_overlap_is_the_share_of_the_exact_first_ones() -> None:
    exact = np.array([4.0, 3.0, 2.0, 1.0])
    swapped, other = np.array([3.0, 4.0, 2.0, 1.0]), np.array([4.0, 1.0, 2.0, 3.0])

    assert overlap([exact], [exact], top=2) == 1
    # The order within the first two does not count; of the other, one of two is there.
    assert overlap([swapped, other], [exact, exact], top=2) == pytest.approx((1 + 0.5) / 2)
    assert overlap([exact], [exact], top=10) == 1


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 3, 6]), (96, [1, 3, 6, 12, 24, 48, 96])]
)
def test_threads_are_all_cores_and_halves_of_them(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts
