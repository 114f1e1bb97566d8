"""Hand-made models, a task and a wheel, small enough for any test: real files in the real formats, no download.

Everything is a function of its arguments, byte for byte. The tokenizers are word-level with the space inside the token,
so that " dark" is one token and a text survives encoding and decoding.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

CUES = {
    "dark": ("night", "shadow", "cellar", "storm", "ash", "mourning", "cave", "ink"),
    "light": ("morning", "window", "candle", "summer", "snow", "wedding", "meadow", "glass"),
}
"""Label key → words that only its texts have."""

FILLER = (
    *("a", "an", "and", "at", "by", "for", "from", "in", "into", "near", "of", "on"),
    *("one", "over", "the", "their", "then", "this", "to", "under", "was", "we", "were", "with"),
)

PRIMER = "Note:"
ANCHOR = "\nMood:"
LABELS = {"dark": " dark", "light": " light"}

NO_ABLATIONS: dict[str, list[Any]] = {"methods": [], "seeds": []}
"""For `train.ablations`."""

_MARKS = ("\n", " ", ":", ".", ",", "?", "Note", "Mood")


def tiny_task(folder: Path, texts: int = 200, seed: int = 0) -> dict[str, Any]:
    """Write `tiny.csv` with `texts` different short texts of two labels, and return its entry for `params.tasks`.

    The cue words of a text tell its label: one or two of them among three to seven other words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < texts:
        label = sorted(CUES)[len(rows) % 2]
        words = dice.sample(CUES[label], dice.randint(1, 2)) + dice.sample(FILLER, dice.randint(3, 7))
        dice.shuffle(words)
        rows.setdefault(" ".join(words) + ".", label)
    with (folder / "tiny.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("text", "label"), *rows.items()])
    return {
        "source": {"local": str(folder), "train": "tiny.csv"},
        "format": {"kind": "csv", "text": "text", "label": "label"},
        "labels": LABELS,
        "primer": PRIMER,
        "anchor": ANCHOR,
    }


def tiny_causal_model(folder: Path, family: Literal["llama", "gemma3_text"] = "llama", seed: int = 0) -> dict[str, Any]:
    """Save a random two-layer model with its tokenizer, and return its entry for `params.models`.

    `llama` has a BOS token but puts none before a text, and pads with its end token, as SmolLM2 does; `gemma3_text`
    puts `<bos>` and has a padding token of its own, as Gemma does.
    """
    gemma = family == "gemma3_text"
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"] if gemma else ["<unk>", "<start>", "<end>"]
    tokenizer = _tokenizer(specials, seed, before="<bos>" if gemma else None)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<bos>" if gemma else "<start>",
        eos_token="<eos>" if gemma else "<end>",
        pad_token="<pad>" if gemma else "<end>",
    )
    shape: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32 if gemma else 24,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        # Wider than usual: in an untrained model the attention must carry enough for a wire to be read.
        "initializer_range": 0.2,
        "tie_word_embeddings": True,
        "pad_token_id": fast.pad_token_id,
        "bos_token_id": fast.bos_token_id,
        "eos_token_id": fast.eos_token_id,
    }
    with _seeded(seed):
        model: PreTrainedModel = (
            Gemma3ForCausalLM(Gemma3TextConfig(**shape, query_pre_attn_scalar=8, sliding_window=128))
            if gemma
            else LlamaForCausalLM(LlamaConfig(**shape))
        )
    return _save(model, fast, folder)


def tiny_encoder_model(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Save a random two-layer BERT with its tokenizer, and return its entry for `params.models`."""
    tokenizer = _tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], seed, before="[CLS]", after="[SEP]")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
        pad_token_id=0,
    )
    with _seeded(seed):
        model = BertModel(config)
    return _save(model, fast, folder)


def tiny_vocabulary() -> list[str]:
    """Every token that the tiny task, its labels, primer and anchor need, without special tokens."""
    words = [*FILLER, *CUES["dark"], *CUES["light"], *CUES]
    return [*_MARKS, *words, *(f" {word}" for word in words)]


def _tokenizer(specials: list[str], seed: int, before: str | None, after: str | None = None) -> Tokenizer:
    tokens = tiny_vocabulary()
    random.Random(seed).shuffle(tokens)
    ids = {token: number for number, token in enumerate([*specials, *tokens])}
    unknown = next(token for token in specials if "unk" in token.lower())
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|\s|[^\w\s]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(specials)
    around = [token for token in (before, "$A", after) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(around), special_tokens=[(t, ids[t]) for t in around if t != "$A"]
    )
    return tokenizer


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> dict[str, Any]:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"local": str(folder), "reads_english": False}
