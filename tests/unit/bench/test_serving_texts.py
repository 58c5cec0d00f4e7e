import json

import pytest

from bench.serving.texts import MEAN_TOKENS, Texts, minilm_tokenizer


@pytest.fixture
def data(tmp_path):
    lines = [
        {"text": " ".join(f"{animal} {number}" for number in range(800))}
        for animal in ("owl", "elk")
    ]
    (tmp_path / "passages.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "questions.jsonl").write_text(json.dumps({"question": "who?"}))
    return tmp_path


def test_documents_have_the_length_that_was_asked_for(data):
    _, documents = Texts(1, data).request(20, 32)

    tokens = [
        len(each) for each in minilm_tokenizer().encode_batch(documents, add_special_tokens=False)
    ]
    assert all(abs(length - 32) <= 1 for length in tokens)


def test_lengths_are_lognormal_where_none_was_asked_for(data):
    texts = Texts(1, data)

    lengths = [texts._length() for _ in range(20_000)]

    # The deviation is 0.66 of the mean, so the mean of so many errs by 0.7; the bounds take 2 off.
    assert sum(lengths) / len(lengths) == pytest.approx(MEAN_TOKENS, abs=5)


def test_the_same_seed_says_the_same_and_never_twice(data):
    texts, again = Texts(1, data), Texts(1, data)

    first, second = texts.request(10, None), texts.request(10, None)

    assert again.request(10, None) == first
    assert not set(first[1]) & set(second[1])
