"""How many tokens each frozen model makes of every text, from which follows what any limit cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from latentwire.models.loading import tokenise_plain
from latentwire.models.pieces import tokenise_text
from latentwire.output_files import replace_file

FILE = "token_counts.parquet"


def count_reader_tokens(tokenizer: PreTrainedTokenizerBase, primer: str, texts: Sequence[str]) -> list[int]:
    """Tokens of each text as a receiver reads it, after the primer and without marks around it."""
    tokenise = partial(tokenise_plain, tokenizer)
    return [len(tokenise_text(tokenise, primer, text)) for text in texts]


def count_sender_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """Tokens of each text as the sender reads it, with the marks that its tokenizer puts around one."""
    return [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


def write_token_counts(path: Path, example_ids: Sequence[str], counts: Mapping[str, Sequence[int]]) -> None:
    """Write `example_id` and a column of counts [N] for every reader."""
    columns = {"example_id": pa.array(example_ids, pa.string())}
    columns |= {name: pa.array(numbers, pa.int32()) for name, numbers in counts.items()}
    with replace_file(path) as partial_file:
        pq.write_table(pa.table(columns), partial_file)
