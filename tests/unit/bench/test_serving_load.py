import asyncio
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from bench.serving import measures, swaps
from bench.serving.memory import Sample, growth
from bench.serving.scaling import cost_of_a_million
from bench.serving.traffic import (
    FAILED,
    Answer,
    Call,
    Client,
    Closed,
    Fixed,
    Open,
    closed_loop,
)

ANSWER = Answer(
    at_s=0.0,
    documents=10,
    status=200,
    latency_s=0.1,
    late_s=0.0,
    retry_after_s=None,
    version="a",
    reply=b"",
)
OPEN = Open(small_per_s=5.0, large_per_s=0.0, seconds=100.0, arrivals=1, texts=1, data=None)


def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed():
    values = [float(value) for value in range(1, 201)]

    assert measures.percentile(values, 0.99) == 198.0
    assert measures.percentile(values, 0.5) == 100.0
    assert measures.percentile([3.0], 0.99) == 3.0
    assert math.isnan(measures.percentile([], 0.5))


async def test_latency_counts_from_when_a_request_was_due_however_late_it_was_sent():
    async with await asyncio.start_server(
        _answering(200, "x-rankloop-version: v"), "127.0.0.1"
    ) as server:
        client = Client(_url(server), keep=True)

        answer = await client.answer(
            Call(at_s=0.4, documents=3, body=b"{}"), began_at=time.monotonic() - 1.0
        )

        client.close()
    assert answer.late_s == pytest.approx(0.6, abs=0.2)
    assert answer.latency_s >= answer.late_s
    assert (answer.status, answer.version, answer.reply) == (200, "v", b"{}")


async def test_a_refusal_says_when_to_come_again():
    async with await asyncio.start_server(_answering(429, "retry-after: 7"), "127.0.0.1") as server:
        client = Client(_url(server), keep=False)

        answer = await client.answer(
            Call(at_s=0, documents=3, body=b"{}"), began_at=time.monotonic()
        )

        client.close()
    assert (answer.status, answer.retry_after_s, answer.ok) == (429, 7, False)


async def test_a_caller_that_is_refused_comes_again_when_it_was_told_to():
    load = Closed(shape=Fixed(documents=1, tokens=8), callers=1, requests=2, seed=1, data=None)
    async with await asyncio.start_server(_answering(429, "retry-after: 1"), "127.0.0.1") as server:
        outcome = await closed_loop(_url(server), load)

    first, second = outcome.answers
    assert second.at_s - first.done_s >= 1.0


async def test_who_gets_no_answer_has_failed():
    async with await asyncio.start_server(_answering(200, ""), "127.0.0.1") as server:
        url = _url(server)

    answer = await Client(url, keep=False).answer(
        Call(at_s=0, documents=3, body=b"{}"), began_at=time.monotonic()
    )

    assert answer.status == FAILED


def test_small_requests_come_at_the_same_moments_whether_or_not_large_ones_do():
    beside = replace(OPEN, large_per_s=1.0)

    assert list(OPEN._due("small", 5.0)) == list(beside._due("small", 5.0))
    assert list(OPEN._due("large", 0.0)) == []


def test_arrivals_are_poisson():
    due = list(replace(OPEN, seconds=10_000.0)._due("small", 5.0))

    # 50,000 expected with a deviation of 224; a gap is exponential, so its deviation is its mean.
    assert len(due) == pytest.approx(50_000, abs=5 * 224)
    gaps = [after - before for before, after in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation == pytest.approx(mean, rel=0.03)


def test_goodput_is_what_is_answered_in_time_and_refusals_never():
    answers = [
        replace(ANSWER, at_s=0.0, latency_s=4.0),  # before
        replace(ANSWER, at_s=0.0, latency_s=5.0, documents=200),
        replace(ANSWER, at_s=7.0, latency_s=0.5, documents=200, status=429),
        replace(ANSWER, at_s=9.0, latency_s=1.0),  # after
    ]

    assert measures.goodput(answers, since_s=5.0, until_s=10.0) == 200 / 5


def test_throughput_is_what_comes_after_an_answer_by_the_time_it_took():
    # One caller, who is answered every 4 s: whatever the edges, it is 10 documents in 4 s.
    answers = [replace(ANSWER, at_s=4.0 * number, latency_s=4.0) for number in range(4)]

    assert measures.throughput(answers, since_s=1.0, until_s=9.0) == 10 / 4
    assert measures.throughput(answers, since_s=5.0, until_s=16.0) == 10 / 4
    assert measures.throughput(answers, since_s=13.0, until_s=20.0) == 0.0


def test_throughput_ends_when_callers_stop_asking():
    # Two at once, each answered every second, until one stops at 3 s.
    both = [replace(ANSWER, at_s=n + late, latency_s=1.0) for n in range(3) for late in (0.0, 0.5)]
    answers = [*both, *(replace(ANSWER, at_s=at_s, latency_s=1.0) for at_s in (3.5, 4.5))]

    assert measures.throughput(answers, since_s=1.0, until_s=3.0) == 20.0


def test_one_step_up_is_no_slope_but_steady_growth_is():
    step = measures.slope(range(20), [100.0] * 4 + [104.0] * 16)
    steady = measures.slope(range(20), [100.0 + 0.5 * number for number in range(20)])

    # Of the 190 pairs, 64 lie on both sides of the step.
    assert (step.value, step.low) == (0.0, 0.0)
    assert (steady.value, steady.low, steady.high) == (0.5, 0.5, 0.5)


def test_growth_is_what_comes_after_the_warm_up():
    # Ten samples, every 10,000 requests: the first two fill caches, then 2 MiB each; the first fifth of eight is one.
    rss = [100.0, 180.0, *(200.0 + 2 * number for number in range(8))]
    samples = [
        Sample(requests=10_000 * (number + 1), rss=each, pss=each, anonymous=50.0)
        for number, each in enumerate(rss)
    ]

    found = growth(samples)

    assert found["rss"] == {"slope_mib_per_100k": 20.0, "slope_95": [20.0, 20.0], "grown_mib": 14.0}
    assert found["anonymous"] == {
        "slope_mib_per_100k": 0.0,
        "slope_95": [0.0, 0.0],
        "grown_mib": 0.0,
    }


def test_the_peak_of_a_process_counts_its_children():
    # Each has its own interpreter: two take more than one alone, whatever that takes.
    program = "import subprocess, sys; print(flush=True); sys.stdin.read()"
    family = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {program!r}]); child.wait()"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", family], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as parent,
    ):
        assert parent.stdout is not None
        parent.stdout.readline()  # the child's, so it is there
        alone = measures.status_mib(parent.pid, "VmHWM")
        whole = measures.peak_rss_mib(parent.pid)
        parent.communicate()

    assert whole > alone


@pytest.mark.parametrize(
    ("named", "header", "scores", "whole"),
    [
        ("a", "a", [-3.0, 5.0], True),
        ("b", "b", [61.0, 70.0], True),
        ("a", "a", [-3.0, 70.0], False),  # two versions in one answer
        ("b", "b", [-3.0, 5.0], False),  # another one than it says
        ("b", "a", [61.0, 70.0], False),
    ],
)
def test_every_score_says_whose_it_is(named, header, scores, whole):
    reply = {"meta": {"version": named}, "results": [{"model_score": score} for score in scores]}
    answer = replace(ANSWER, version=header, reply=json.dumps(reply).encode())

    found = measures.is_of_one_version(answer, lambda logit: "b" if logit > 32 else "a")

    assert found == whole


def test_near_a_swap_is_from_its_publication_on():
    answers = [replace(ANSWER, at_s=at_s) for at_s in (99.9, 100.0, 109.9, 110.0, 123.9, 124.0)]

    near, far = swaps._cycle(answers, 100.0, every_s=24.0)

    assert [answer.at_s for answer in near] == [100.0, 109.9]
    assert [answer.at_s for answer in far] == [110.0, 123.9]


def test_latency_is_told_by_the_time_since_the_last_swap():
    answers = [replace(ANSWER, at_s=at_s, latency_s=at_s / 100) for at_s in (10.5, 12.0, 30.5)]

    first, second, third = swaps._since_swap(answers, [10.0, 30.0], every_s=5.0)

    assert (first["since_s"], first["small_n"], first["small_p99_ms"]) == (0.0, 2, 305.0)
    assert (second["since_s"], second["small_n"], second["small_p50_ms"]) == (2.0, 1, 120.0)
    assert third == {"since_s": 4.0}


def test_a_million_documents_cost_every_core_for_as_long_as_they_take():
    # 100 a second: 10,000 s of two cores, 20,000 / 3600 core-hours at 0.036.
    assert cost_of_a_million(100.0, cores=2, price=0.036) == pytest.approx(0.2)


def test_a_service_says_how_long_each_swap_took(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "swap.served line=default epoch=1 version=a in_s=2.45\nswap.healed line=default\n"
    )

    assert swaps.served_in_s(log) == [2.45]


def _answering(status, header):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        extra = f"{header}\r\n" if header else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{extra}content-length: 2\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    return answer


def _url(server):
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
