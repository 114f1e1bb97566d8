"""Pieces of a prompt follow each other as in running text, whatever the convention of the tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from latentwire.models.layout import Layout
from latentwire.models.pieces import space_anchor, space_piece, tokenise_text

SEEN = ['Review: "the film (is) good."\nSentiment: positive', "a film the night\nSentiment: negative", "Review:\nthe"]
CL100K = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(*before: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """GPT-2 and SmolLM2: the space is the first byte of the word's token."""
    tokenizer = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not before)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, last])
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=400, initial_alphabet=last.alphabet()))


def metaspace(scheme: str) -> Tokenizer:
    """SentencePiece: with `first` a text begins as if after a space (Llama 2), with `never` it does not (Gemma)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    words = pre_tokenizers.Metaspace(prepend_scheme=scheme)  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Split(Regex(r"[\n\"()]"), "isolated")])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)  # type: ignore[arg-type]
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"]))


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    tokenizer.train_from_iterator(SEEN * 20, trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level, marks with words": lambda: byte_level(pre_tokenizers.Split(Regex(CL100K), "isolated")),
    "space before a text": lambda: metaspace("first"),
    "no space before a text": lambda: metaspace("never"),
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


@pytest.mark.parametrize(
    ("primer", "anchor", "label", "expected"),
    [
        ("Review:", "\nSentiment:", " positive", "Review: the film\nSentiment: positive"),
        ("Review:", "\nSentiment:", "positive", "Review: the film\nSentiment: positive"),
        ("Review: ", "\nSentiment: ", "positive", "Review: the film\nSentiment: positive"),
        ("Review: ", "\nSentiment: ", " positive", "Review: the film\nSentiment: positive"),
        ("Review:\n", "\nSentiment:\n", "positive", "Review:\nthe film\nSentiment:\npositive"),
        ("Review", "Sentiment", "positive", "Review the film Sentiment positive"),
        ('Review: "', '"\nSentiment: "', "positive", 'Review: "the film"\nSentiment: "positive'),
        ("(", ")", "positive", "(the film) positive"),
        ("Review:", ". Sentiment:", " positive", "Review: the film. Sentiment: positive"),
        ("", "", "positive", "the film positive"),
        (" ", " ", "positive", "the film positive"),
    ],
)
@pytest.mark.parametrize("text", ["the film", " the film", "\nthe film \n"])
def test_a_prompt_reads_as_one_would_write_it(
    primer: str, anchor: str, label: str, expected: str, text: str, tokenizer: Tokenizer
) -> None:
    def tokenise(said: str) -> list[int]:
        return list(tokenizer.encode(said).ids)

    layout = Layout.build(tokenise, None, primer, anchor, [label])
    ids = [*layout.primer, *tokenise_text(tokenise, primer, text), *layout.anchor, *layout.answers[0]]
    assert tokenizer.decode(ids) == expected
    assert ids == tokenise(expected)


@pytest.mark.parametrize("primer", ["Review:", "Review: ", "Review:\n", 'Review: "', ""])
def test_nothing_is_left_of_an_empty_text(primer: str, tokenizer: Tokenizer) -> None:
    assert tokenise_text(lambda said: list(tokenizer.encode(said).ids), primer, " \n") == []


def test_a_text_that_would_change_the_primer_has_the_tokens_after_another_word() -> None:
    ids = {"Review:": [1, 2], "Review: x": [1, 9], "a": [5], "a x": [5, 7], "(": [3], "(x": [4], "ax": [6], "x": [8]}
    assert tokenise_text(ids.__getitem__, "Review:", "x") == [7]
    assert tokenise_text(ids.__getitem__, "(", "x") == [8]


@pytest.mark.parametrize(
    ("before", "piece", "spaced"),
    [
        ("News:", "...", " ..."),
        ("News:", '"Quoted"', ' "Quoted"'),
        ('He said "so"', "then", " then"),
        ("[", "x", "x"),
        ("«", "x", "x"),
        ("评论：", "好", "好"),
        ("Review:", "好", "好"),
        ("x\t", "y", "y"),
        ("x", "", ""),
        ("x  ", " y", "  y"),
    ],
)
def test_a_space_stands_where_writing_has_one(before: str, piece: str, spaced: str) -> None:
    assert space_piece(before, piece) == spaced


@pytest.mark.parametrize(
    ("anchor", "spaced"),
    [
        ("", ""),
        ("\nMood:", "\nMood:"),
        ("Mood:", " Mood:"),
        ('"Mood"', ' "Mood"'),
        ('"', '"'),
        ('")', '")'),
        ("?", "?"),
    ],
)
def test_only_an_anchor_that_ends_something_touches_the_text(anchor: str, spaced: str) -> None:
    assert space_anchor(anchor) == spaced
