"""What is measured side by side: everything pinned, everybody's turn, and what is said of it."""

import os
import random
import re

import pytest

from bench.serving import inside, peers, plots, side_by_side, tables
from bench.serving.peers import Infinity, Reply, Server
from bench.serving.side_by_side import OURS_FLOAT32, OURS_INT8, Case, Turn
from bench.serving.texts import Texts

CASE = Case(documents=3, tokens=16, rounds=2)
PID = os.getpid()


def server(name: str, *, precision: str = "float32", seconds: float = 1.0, off: float = 0.0):
    """One that says of each document how long it is."""
    return Server(
        name=name,
        says="1",
        precision=precision,
        transport="http",
        pid=PID,
        rank=lambda query, documents: Reply(
            scores=[len(text) + off for text in documents], seconds=seconds
        ),
        ids=lambda query, documents: [[len(query), len(text)] for text in documents],
    )


def turns(**seconds: float):
    """One round: the names are servers."""
    keys = {"ours": OURS_FLOAT32, "int8": OURS_INT8, "fastembed": ("fastembed", "float32")}
    return {
        keys[name]: Turn(seconds=each, max_difference=0.0, overlap=1.0, idle_cores=0.0)
        for name, each in seconds.items()
    }


def test_what_the_peers_run_in_is_pinned():
    environments = {
        "infinity" if isinstance(peer, Infinity) else peer.environment
        for peer in (*peers.BEST_OF, *peers.BESIDE)
    } - {peers.OURS}
    files = {path.stem.removeprefix("requirements-"): path for path in peers.HERE.glob("*.txt")}
    lines = [
        line
        for path in files.values()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]

    assert set(files) == environments
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []


def test_everybody_gets_the_same_request_and_is_compared_with_us():
    servers = [server("Rankloop"), server("fastembed", off=0.5)]

    found = side_by_side.play(servers, CASE, Texts(1, None), random.Random(1))

    assert found[OURS_FLOAT32].max_difference == 0.0
    assert found[("fastembed", "float32")].max_difference == 0.5
    assert found[("fastembed", "float32")].overlap == 1.0


def test_a_server_that_reads_other_tokens_is_refused():
    other = server("other")
    other = Server(
        **{name: getattr(other, name) for name in other.__slots__} | {"ids": lambda *_: []}
    )

    with pytest.raises(peers.PeerFailed, match="other reads other tokens"):
        side_by_side.expect_same_ids([server("Rankloop"), other], Texts(1, None))


def test_a_row_says_how_long_how_often_and_whether_the_scores_are_ours():
    servers = [server("Rankloop"), server("fastembed")]
    rounds = [turns(ours=0.1, fastembed=0.2), turns(ours=0.3, fastembed=0.6)]

    ours, peer = side_by_side.rows(CASE, servers, rounds)

    assert (ours["server"], ours["times"]) == ("Rankloop", 1.0)
    assert (peer["min_ms"], peer["median_ms"], peer["rounds"]) == (200.0, 400.0, 2)
    assert (peer["times"], peer["times_95"]) == (2.0, [2.0, 2.0])
    assert (peer["documents"], peer["tokens"], peer["same_scores"]) == (3, 16, True)


def test_ours_is_compared_with_the_fastest_peer():
    rounds = [turns(ours=0.1, int8=0.05, fastembed=0.4)] * 3
    others = {
        ("rerankers", "float32"): turns(ours=9.0)[OURS_FLOAT32],
        ("sentence-transformers ONNX", "int8"): turns(ours=0.15)[OURS_FLOAT32],
    }

    found = side_by_side.against_the_best([each | others for each in rounds])

    assert found["best_peer"] == "fastembed"
    assert (found["float32"]["times"], found["int8"]["times"]) == (4.0, 8.0)
    assert found["best_int8_peer"] == "sentence-transformers ONNX"
    assert found["int8_against_int8"]["times"] == 3.0


def test_where_no_peer_ran_there_is_nothing_to_be_compared_with():
    found = side_by_side.against_the_best([turns(ours=0.1, int8=0.05)])

    assert set(found.values()) == {None}


def test_tei_takes_eight_in_the_order_they_came():
    batches = list(inside.by_eight(range(17)))

    assert [list(batch) for batch in batches] == [
        list(range(8)),
        list(range(8, 16)),
        [16],
    ]


def test_a_peer_answers_with_logits_and_how_long_it_took():
    peer = inside.Inside(
        package="p",
        rank=lambda query, documents: [len(text) for text in documents],
        ids=lambda query, documents: [[7] for _ in documents],
    )

    ranked = inside.answer(peer, {"query": "q", "documents": ["a", "bb"]})

    assert ranked["scores"] == [1.0, 2.0]
    assert ranked["seconds"] >= 0
    assert inside.answer(peer, {"query": "q", "documents": ["a"], "ids": True}) == {"ids": [[7]]}


def test_the_table_names_wrong_scores():
    row = {
        "server": "peer",
        "precision": "float32",
        "documents": 50,
        "tokens": "lognormal",
        "transport": "http",
        "min_ms": 1.0,
        "median_ms": 2.0,
        "times": 3.0,
        "times_95": [2.5, 3.5],
        "max_difference": 0.4,
        "same_scores": False,
        "top10_overlap": 0.9,
    }

    rows = [row, row | {"same_scores": True}]
    _, table, peaks, versions, missing = tables.summary(
        {
            "against_the_best": [],
            "rows": rows,
            "peak_rss_mib": {"peer, float32": 512.5},
            "versions": {"peer": "peer 1.0"},
            "failed": {"other, float32": "no port"},
        }
    )

    assert "| peer, float32 | 512.5 |" in tables.markdown(peaks)
    assert "| peer | peer 1.0 |" in tables.markdown(versions)
    assert "| other, float32 | no port |" in tables.markdown(missing)
    assert "| http | 1.0 | 2.0 | 3.0 | 2.5 to 3.5 | off by up to 0.4 | 0.9 |" in tables.markdown(
        table
    )
    assert "| 2.5 to 3.5 | the same | 0.9 |" in tables.markdown(table)


def test_the_picture_is_of_the_first_case():
    servers = [server("Rankloop"), server("fastembed")]
    rounds = [turns(ours=0.1, fastembed=0.2)]
    other = Case(documents=9, tokens=16, rounds=1)
    rows = side_by_side.rows(CASE, servers, rounds) + side_by_side.rows(other, servers, rounds)

    (axes,) = plots.summary({"against_the_best": [CASE.says, other.says], "rows": rows}).axes

    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Rankloop, float32, http",
        "fastembed, float32, http",
    ]
