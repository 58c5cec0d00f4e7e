import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from contract.pair_template import PairTemplate

CORPUS = ["what is it?", "a test, a test, no more than a test.", "Große Straße"]
QUERIES = ["a", "what is it, the test?", ""]
DOCUMENTS = ["b", "a test, " * 20, "Große Straße, größer", "e\u0301 \u200b x \N{GRINNING FACE}", ""]
ROOM = 7
"""Of a document; the second one and the fourth are cut."""


def bert() -> Tokenizer:
    """Pieces of words, one separator between, two types."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(vocab_size=60, special_tokens=specials, show_progress=False),
    )
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def xlm_roberta() -> Tokenizer:
    """Unigrams of words that begin with a mark, two separators between, one type."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=60, special_tokens=specials, unk_token="<unk>", show_progress=False
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return made


def modernbert() -> Tokenizer:
    """Bytes, merged; one separator between, one type."""
    specials = ["[CLS]", "[SEP]", "[PAD]"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        ),
    )
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
    )
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return made


def letters(pair: str) -> Tokenizer:
    """Words of one letter, joined as `pair` says."""
    made = Tokenizer(models.WordLevel({"[SEP]": 0, "a": 1, "b": 2, "?": 3}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A", pair=pair, special_tokens=[("[SEP]", 0)]
    )
    return made


def plain() -> Tokenizer:
    """Nothing around a pair at all."""
    made = letters("$A $B")
    made.post_processor = None
    return made


def roberta() -> Tokenizer:
    """The processor of the older files of this family."""
    made = xlm_roberta()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made


@pytest.mark.parametrize(
    "made", [bert, xlm_roberta, roberta, modernbert, plain], ids=lambda made: made.__name__
)
def test_a_pair_of_a_template_is_what_the_tokenizer_itself_makes_of_it(made):
    tokenizer = made()
    template = PairTemplate.of(tokenizer)
    assert template is not None
    for query in tokenizer.encode_batch(QUERIES, add_special_tokens=False):
        frame = template.frame(np.array(query.ids, dtype=np.int32))
        for document in tokenizer.encode_batch(DOCUMENTS, add_special_tokens=False):
            document.truncate(ROOM)
            expected = tokenizer.post_process(query, document)

            ids, type_ids = frame.around(np.array(document.ids, dtype=np.int32))

            assert ids.tolist() == expected.ids
            assert type_ids.tolist() == expected.type_ids


def test_the_parts_are_read_off_the_families_pairs():
    parts = {
        made.__name__: [part.ids.tolist() for part in (told.prefix, told.between, told.suffix)]
        for made in (bert, xlm_roberta, modernbert)
        if (told := PairTemplate.of(made())) is not None
    }

    assert parts == {
        "bert": [[2], [3], [3]],
        "xlm_roberta": [[0], [2, 2], [2]],
        "modernbert": [[0], [1], [1]],
    }


@pytest.mark.parametrize("pair", ["$B [SEP] $A", "$A [SEP] $B $A", "$A $B:1 $B:0"])
def test_what_is_no_query_and_then_a_document_has_no_template(pair):
    assert PairTemplate.of(letters(pair)) is None


def test_a_vocabulary_that_knows_no_probe_tells_nothing():
    silent = Tokenizer(models.BPE({"z": 0}, []))  # other letters have no token

    assert PairTemplate.of(silent) is None
