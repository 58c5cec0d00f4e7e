import json
from pathlib import Path

import numpy as np
import pytest

from contract.tokens import PairTokenizer
from service.bench import requests
from service.bench.requests import Prepared, Request, RequestsRefused
from tests import models


def request(query: str, *documents: str) -> Request:
    return Request(query=query, documents=documents)


def prepared(*tokens: int) -> list[Prepared]:
    """Requests of one document with so many letters, special tokens and query included."""
    tokenizer = PairTokenizer(models.tokenizer(), max_length=64)
    return [Prepared.of(request("q", "x" * (count - 4)), tokenizer) for count in tokens]


def test_the_sample_is_the_same_every_time_and_hardly_a_text_comes_twice() -> None:
    sample = requests.sample()
    texts = [text for each in sample for text in each.documents]

    assert sample == requests.sample()
    assert {len(each.documents) for each in sample} == {32}
    assert len(sample) == 40
    assert len(texts) == 40 * 32
    assert len(set(texts)) > 0.99 * len(texts)


def test_the_samples_lengths_are_lognormal_with_a_mean_of_113_words() -> None:
    words = [len(text.split()) for each in requests.sample() for text in each.documents]

    # 100 e^(.5^2 / 2) = 113; 1,280 of them have a standard error of 1.7.
    assert np.mean(words) == pytest.approx(113, abs=6)
    assert np.log(words).std() == pytest.approx(0.5, abs=0.04)


def test_the_first_document_of_a_sample_is_about_its_query() -> None:
    starter = requests.sample()[0]

    assert "sourdough" in starter.query
    assert "starter" in starter.documents[0]
    assert "chain" in starter.documents[1]


def test_the_first_requests_of_a_file_are_read_and_empty_lines_are_none(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    lines = [{"query": f"q{number}", "documents": ["a", "b"], "id": 1} for number in range(201)]
    file.write_text("\n\n".join(json.dumps(line) for line in lines))

    found = requests.read(file)

    assert found[0] == request("q0", "a", "b")
    assert len(found) == 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no requests"),
        ("\n\n", "has no requests"),
        ('{"query": "q", "documents": ["a"]}\nnot json', "line 2: Invalid JSON"),
        ('{"query": "q", "documents": []}', "line 1: documents: "),
        ('{"query": " ", "documents": ["a"]}', "line 1: query: "),
        ('{"query": "q", "documents": ["a", ""]}', "line 1: documents: 1: "),
        ('{"documents": ["a"]}', "line 1: query: Field required"),
    ],
)
def test_a_file_that_cannot_be_measured_is_refused_by_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(text)

    with pytest.raises(RequestsRefused) as refused:
        requests.read(file)

    assert reason in str(refused.value)


def test_a_file_that_is_away_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    with pytest.raises(RequestsRefused, match="No such file"):
        requests.read(tmp_path / "away")
    with pytest.raises(RequestsRefused, match="is not UTF-8"):
        requests.read(tmp_path / "bytes")


def test_a_request_of_another_size_has_its_own_documents_first_and_then_those_of_others() -> None:
    asked = [request("one", "a", "b"), request("two", "c")]

    assert requests.resized(asked, 1) == [request("one", "a"), request("two", "c")]
    assert requests.resized(asked, 5) == [
        request("one", "a", "b", "c", "a", "b"),
        request("two", "c", "a", "b", "c", "a"),
    ]


def test_requests_are_grouped_until_they_have_the_tokens() -> None:
    asked = prepared(20, 30, 40, 50)

    assert requests.waves(asked, tokens=40) == [asked[:2], [asked[2]], [asked[3]]]


def test_the_last_group_is_filled_from_the_first_requests() -> None:
    asked = prepared(20, 30)

    assert requests.waves(asked, tokens=60) == [[*asked, asked[0]]]
    assert requests.waves(asked, tokens=20) == [[asked[0]], [asked[1]]]


def test_a_query_that_leaves_no_room_is_refused() -> None:
    tokenizer = PairTokenizer(models.tokenizer(), max_length=64)

    with pytest.raises(RequestsRefused, match="a query is too long for this model"):
        Prepared.of(request("q" * 60, "x"), tokenizer)
