import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from contract.tokens import PairTokenizer, QueryTooLong, pad

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c", "d"]
VOCABULARY = {word: index for index, word in enumerate(WORDS)}
TEMPLATES = {
    # No template describes it: the tokenizer makes every pair.
    "document first": ("[CLS] $B [SEP] $A [SEP]", ["[CLS]", "[SEP]"]),
    "bert": ("[CLS] $A [SEP] $B:1 [SEP]:1", ["[CLS]", "[SEP]"]),
    "xlm-roberta": ("[CLS] $A [SEP] [SEP] $B [SEP]", ["[CLS]", "[SEP]"]),
    "modernbert": ("[CLS] $A [SEP] $B [SEP]", ["[CLS]", "[SEP]"]),
}


def tokenizer_of(family, *, max_length=24):
    template, special = TEMPLATES[family]
    raw = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair=template, special_tokens=[(s, VOCABULARY[s]) for s in special]
    )
    return raw, PairTokenizer(raw, max_length=max_length)


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_pair_is_what_the_family_s_own_tokenizer_makes_of_it(family):
    raw, tokenizer = tokenizer_of(family)
    expected = raw.encode("a b", "c d")

    (pair,) = tokenizer.pairs("a b", ["c d"])

    assert pair.ids.tolist() == expected.ids
    assert pair.type_ids.tolist() == expected.type_ids
    assert not pair.truncated


def test_the_document_is_cut_and_never_the_query():
    _, tokenizer = tokenizer_of("bert", max_length=24)

    (pair,) = tokenizer.pairs("a a a", ["b " * 100])

    # 24 = [CLS] + 3 of the query + [SEP] + 18 of the document + [SEP]
    assert pair.ids.tolist() == [1, 4, 4, 4, 2, *[5] * 18, 2]
    assert pair.truncated


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("words", [0, 17, 18, 19, 24, 25, 100])
def test_a_document_is_cut_where_the_special_tokens_still_fit(family, words):
    raw, tokenizer = tokenizer_of(family, max_length=24)
    room = 24 - raw.num_special_tokens_to_add(is_pair=True) - 3

    (pair,) = tokenizer.pairs("a a a", ["b " * words])

    assert pair.ids.tolist() == raw.encode("a a a", "b " * min(words, room)).ids
    assert pair.truncated == (words > room)


def test_a_query_that_leaves_no_room_is_refused():
    _, tokenizer = tokenizer_of("bert", max_length=24)

    with pytest.raises(QueryTooLong, match="6 tokens; a pair has 24"):
        tokenizer.pairs("a " * 6, ["b"])


def test_a_text_cut_by_characters_is_reported_even_if_its_tokens_fit():
    _, tokenizer = tokenizer_of("bert", max_length=24)

    (pair,) = tokenizer.pairs("a", [" " * 24 * 8 + "b"])

    assert pair.truncated


def test_truncation_and_padding_of_the_file_are_reset():
    raw, _ = tokenizer_of("bert")
    raw.enable_truncation(8)
    raw.enable_padding(length=30)

    (pair,) = PairTokenizer(raw, max_length=24).pairs("a", ["b " * 10])

    assert len(pair.ids) == 3 + 1 + 10


def test_an_empty_document_is_a_pair_too():
    _, tokenizer = tokenizer_of("bert")

    (pair,) = tokenizer.pairs("a", [""])

    assert pair.ids.tolist() == [1, 4, 2, 2]


def test_padding_is_masked_and_at_the_end():
    _, tokenizer = tokenizer_of("bert")

    batch = pad(tokenizer.pairs("a", ["b c", "b"]), pad_id=7)

    assert batch.input_ids.tolist() == [[1, 4, 2, 5, 6, 2], [1, 4, 2, 5, 2, 7]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]
