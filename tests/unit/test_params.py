"""params.yaml: frozen, typed, and unknown keys refused with the valid ones (their sentences are the interface)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.params.describe import describe_params
from latentwire.params.load import check_choice, load_params, parse_params
from latentwire.training.run_identity import defining_params

ROOT = Path(__file__).parents[2]
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return loaded


def test_the_committed_file_is_valid_and_frozen() -> None:
    loaded = load_params(ROOT / "params.yaml")
    assert loaded.receivers == ("smollm2", "gemma3")
    assert loaded.frozen_models() == ("minilm", "smollm2", "gemma3")
    with pytest.raises(ValidationError, match="frozen"):
        loaded.train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda v: v.update(trian={}),
            "unknown key `trian` (did you mean `train`?); expected one of aggregate, baseline",
        ),
        (lambda v: v["train"].update(stepps=3), "unknown key `train.stepps` (did you mean `steps`?); expected one of"),
        (
            lambda v: v["methods"]["wire"].update(slts=1),
            "unknown key `methods.wire.slts` (did you mean `slots`?); expected one of depth, dropout",
        ),
        (
            lambda v: v["methods"].update(tuned={"kind": "prompt_tuning", "slots": 3, "receivers": ["gemma3"]}),
            "unknown key `methods.tuned.slots`; expected one of kind, length, receivers",
        ),
        (
            lambda v: v["methods"].update(lora={"kind": "lora", "rnk": 3, "receivers": ["gemma3"]}),
            "unknown key `methods.lora.rnk` (did you mean `rank`?); expected one of alpha, kind, rank, receivers",
        ),
        (
            lambda v: v["methods"]["wire"].update(kind="wrie"),
            "`methods.wire`: a method needs a kind, one of wire, prompt_tuning, lora",
        ),
        (
            lambda v: v["methods"].update(wire={"kind": "prompt_tuning", "length": 3, "receivers": ["gemma3"]}),
            "baseline.budget_of names 'wire', which sends no vectors; expected a method that does",
        ),
        (
            lambda v: v["models"]["minilm"].update(url=1),
            "unknown key `models.minilm.url`; expected one of package, path",
        ),
        (
            lambda v: v["tasks"]["r8"]["source"].update(tset=1),
            "unknown key `tasks.r8.source.tset` (did you mean `test`?)",
        ),
        (
            lambda v: v["train"].update(seeds=[2**63]),
            "`train.seeds.0`: expected an integer seed from 0 and below 2**63, or permuted-SEED, found 922337203685477",
        ),
        (lambda v: v["train"].update(seeds=[0, f"permuted-{2**63}"]), "`train.seeds.1`: expected an integer seed from"),
        (lambda v: v["train"].update(seeds=[0, "permuted-01"]), "or permuted-SEED, found 'permuted-01'"),
        (lambda v: v["train"].update(seeds=["permuted-0"]), "one that is not permuted, found permuted-0"),
        (lambda v: v["train"].update(seeds=[0, *["permuted-1"] * 2]), "'permuted-1' stands there more than once"),
        (lambda v: v["train"].pop("ablations"), "`train.ablations` is missing"),
        (lambda v: v["train"]["ablations"].update(seeds=[]), "`train.ablations`: seeds must be one at least, for the"),
        (lambda v: v["train"]["ablations"].update(seeds=[7]), "not permuted, (0, 1, 2), found 7"),
        (lambda v: v["train"]["ablations"].update(seeds=["permuted-0"]), "`train.ablations.seeds.0`: Input should be"),
        (lambda v: v["train"]["ablations"].update(methods=["wire"]), "others than methods, found wire in both"),
        (
            lambda v: (
                v["methods"]["wire"].update(receivers=["smollm2"]),
                v["methods"]["wire_1"].update(receivers=["gemma3"]),
            ),
            "names 'wire_1', which shares no receiver with 'wire'",
        ),
        (
            lambda v: (
                v["train"]["losses"].update(collapse=0.1),
                v["methods"].update(
                    wire_1={"kind": "lora", "rank": 2, "alpha": 2.0, "targets": ["q_proj"], "receivers": ["gemma3"]}
                ),
            ),
            "train.losses.collapse is 0.1, a loss on vectors, and 'wire_1' sends none",
        ),
        (lambda v: v["train"]["ablations"].update(methods=["wide"]), "train.ablations.methods names 'wide', which"),
        (
            lambda v: v["tasks"]["rotten_tomatoes"].update(unseen=[{"0": " bad"}]),
            "unseen must have, for each of the labels 0, 1, a word",
        ),
        (
            lambda v: v["tasks"]["rotten_tomatoes"].update(unseen=[{"0": " bad", "1": "positive"}]),
            "nor among those of `labels`, found {'0': ' bad', '1': 'positive'}",
        ),
        (
            lambda v: v["tasks"]["rotten_tomatoes"].update(unseen=[{"0": " bad", "1": "bad "}]),
            "a word that is neither that of another label",
        ),
        (lambda v: v["aggregate"].update(seed=2**64), "`aggregate.seed`: Input should be less than 92233720368547758"),
        (lambda v: v["train"].update(lr=float("inf")), "`train.lr`: Input should be a finite number"),
        (lambda v: v["train"].update(steps=2**40), "`train.steps`: Input should be less than 2147483648"),
        (
            lambda v: v["prepare"].update(fractions={"validation": 0.6, "test": 0.4}),
            "validation and test must leave texts to train on, found 0.6 and 0.4, which are 1 of all",
        ),
        (lambda v: v["train"].pop("steps"), "`train.steps` is missing"),
        (lambda v: v["train"].update(steps=-1), "`train.steps`: Input should be greater than 0, found -1"),
        (
            lambda v: v["train"]["checkpoint"].update(every="often"),
            "`train.checkpoint.every`: expected a number of steps above 0, or auto, found 'often'",
        ),
        (lambda v: v["train"]["checkpoint"].update(every=0), "a number of steps above 0, or auto, found 0"),
        (
            lambda v: v["train"].update(mode="fast"),
            "`train.mode`: Input should be 'exact' or 'throughput', found 'fast'",
        ),
        (lambda v: v["train"].update(steps=10), "warmup must be below steps, found 12 and 10"),
        (lambda v: v["train"].update(seeds=[1, 1]), "`train.seeds`: 1 stands there more than once"),
        (lambda v: v["train"].update(methods=["wire", "wire"]), "`train.methods`: 'wire' stands there more than once"),
        (lambda v: v["prepare"].update(tasks=["r8", "r8"]), "`prepare.tasks`: 'r8' stands there more than once"),
        (lambda v: v["baseline"].update(methods=["text", "text"]), "`baseline.methods`: 'text' stands there more"),
        (lambda v: v["evaluate"].update(controls=["shuffled"] * 2), "`evaluate.controls`: 'shuffled' stands there"),
        (
            lambda v: v["evaluate"].update(precisions=["int2"]),
            "`evaluate.precisions.0`: Input should be 'int8' or 'int4'",
        ),
        (
            lambda v: v["methods"]["wire"].update(receivers=["smollm2"] * 2),
            "`methods.wire.receivers`: 'smollm2'",
        ),
        (
            lambda v: [v["methods"].update(text=v["methods"]["wire"]), v["train"].update(methods=["text"])],
            "train.methods names 'text', which is a baseline",
        ),
        (lambda v: v["tracking"].update(experiment=" "), "`tracking.experiment`: String should match pattern"),
        (lambda v: v["runtime"].update(threads=10**6), "`runtime.threads`: Input should be less than or equal to 1024"),
        (lambda v: v["train"]["losses"].update(token_ce=0), "token_ce or label_ce must be above 0"),
        (lambda v: v["methods"]["wire"].update(heads=7), "width must be a multiple of heads, found 192 and 7"),
        (
            lambda v: v["methods"]["wire"].update(receivers=["x"]),
            "methods.wire.receivers names 'x', which is not among",
        ),
        (lambda v: v["tasks"]["r8"].update(labels={"acq": " a"}), "labels must be at least two and said differently"),
        (lambda v: v["tasks"]["r8"].update(primer="a\ud800b"), "`tasks.r8.primer`: U+D800 is no character of a text"),
        (lambda v: v["models"].update(x={"local": "a\0b"}), "`models.x.local`: U+0000 is no character of a text"),
        (lambda v: v["tasks"]["r8"]["labels"].update({"\udfff": " x"}), "`tasks.r8.labels (a key)`: U+DFFF is no"),
        (
            lambda v: v["tasks"]["rotten_tomatoes"]["unseen"][1].update({"0": "\ud83d"}),
            "`tasks.rotten_tomatoes.unseen.1.0`: U+D83D",
        ),
        (lambda v: v["train"].update(lr=1e39), "`train.lr`: expected 0 or a number that single precision holds"),
        (lambda v: v["train"].update(clip=1e-40), "from 1.2e-38 to below 3.4e+38 without its sign, found 1e-40"),
        (lambda v: v["methods"]["wire"].update(query_std=1e300), "`methods.wire.query_std`: expected 0 or a number"),
        (
            lambda v: v["aggregate"].update(confidence=0.9999, resamples=10_000),
            "confidence 0.9999 leaves no draw of 10000 resamples outside of an interval on either side",
        ),
        (lambda v: v["models"]["smollm2"].update(package=[]), "`models.smollm2.package`: Tuple should have at least 1"),
        (lambda v: v["models"].update(x={"local": ""}), "`models.x.local`: String should have at least 1 character"),
        (lambda v: v["report"].update(title=" "), "`report.title`: ' ' has no letter; expected what the report is"),
        (lambda v: v["report"]["names"].update(wire=""), "`report.names.wire`: '' has no letter"),
        (
            lambda v: v["report"]["names"].update(gemma3="SmolLM2  135M"),
            "report.names has 'SmolLM2 135M' for gemma3 and smollm2; expected another name for each",
        ),
        (lambda v: v["report"]["names"].update(text="Wire"), "report.names has 'Wire' for text and wire; expected"),
        (
            lambda v: v["report"]["names"].update({"wire-noise": "Noise", "probe": "Noise"}),
            "'Noise' for probe and wire-",
        ),
        (lambda v: v["report"]["names"].update(rotten_tomatoes="Reuters R8"), "'Reuters R8' for r8 and rotten_tom"),
        (lambda v: v["report"]["names"].update(smollm2="minilm", minilm="minilm"), "'minilm' for minilm and smollm2"),
        (lambda v: v["models"].update(x={}), "a model needs one of package, local, hub"),
        (lambda v: v["models"].update(x=None), "`models.x`: a model needs one of package, local, hub"),
        (lambda v: v["models"].update(x=3), "`models.x`: a model needs one of package, local, hub"),
        (lambda v: v["tasks"]["r8"].update(source=None), "a task's source needs one of package, local, hub"),
        (lambda v: v["models"].update(x={"hub": "a/b"}), "`models.x.revision` is missing"),
        (lambda v: v["aggregate"].update(reference="nothing"), "`aggregate.reference`: Input should be"),
    ],
)
def test_a_wrong_file_is_one_sentence(change: Change, sentence: str, values: dict[str, Any]) -> None:
    change(values)
    with pytest.raises(ConfigurationError) as caught:
        parse_params(values, "params.yaml")
    assert str(caught.value).startswith("params.yaml: ")
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("Next: mend it, then `latentwire params`.")


SEED = "expected an integer seed from 0 and below 2**63, or permuted-SEED"


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("seeds", [1.0], SEED),
        ("seeds", [True], SEED),
        ("seeds", ["3"], SEED),
        ("seeds", ["1_0"], SEED),
        ("steps", 64.0, "Input should be a valid integer"),
        ("warmup", False, "Input should be a valid integer"),
        ("lr", "0.1", "Input should be a valid number"),
        ("clip", True, "Input should be a valid number"),
    ],
)
def test_a_number_is_one_as_dvc_reads_it(key: str, value: Any, kind: str, values: dict[str, Any]) -> None:
    """DVC would name the item of seed 1.0 or true by these words, and no stage would find it."""
    values["train"][key] = value
    with pytest.raises(ConfigurationError) as caught:
        parse_params(values, "params.yaml")
    found, place = (value[0], f"{key}.0") if isinstance(value, list) else (value, key)
    assert str(caught.value) == (
        f"params.yaml: `train.{place}`: {kind}, found {found!r}. Next: mend it, then `latentwire params`."
    )


def test_a_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No params\.yaml in .*Next: run the command from the root"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("train: [")
    with pytest.raises(ConfigurationError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")


def test_every_parameter_is_described() -> None:
    lines = list(describe_params(load_params(ROOT / "params.yaml")))
    assert any(line.startswith("train.validate.every = 16  # Steps between two validations") for line in lines)
    assert any(line.startswith("# methods.wire: A trained method") for line in lines)


def test_checkpoints_may_come_as_often_as_pays_and_change_no_identity(values: dict[str, Any]) -> None:
    loaded = parse_params(values, "params.yaml")
    item = TrainItem.of(loaded, "wire", "r8", 0)
    before = defining_params(loaded, item)
    values["train"]["checkpoint"] = {"every": "auto", "keep": 2, "preemptions_per_hour": 0.5}
    values["runtime"]["threads"] += 1
    changed = parse_params(values, "params.yaml")
    assert changed.train.checkpoint.every == "auto"
    assert defining_params(changed, item) == before
    values["train"]["mode"] = "throughput"
    assert defining_params(parse_params(values, "params.yaml"), item) != before


def test_what_a_text_is_cut_to_defines_only_methods_that_read_it(values: dict[str, Any]) -> None:
    values["methods"]["tuned"] = {"kind": "prompt_tuning", "length": 3, "receivers": ["gemma3"]}
    values["train"]["methods"] = ["wire", "tuned"]
    before = parse_params(values, "params.yaml")
    values["baseline"]["max_tokens"] += 1
    after = parse_params(values, "params.yaml")
    for method, same in (("wire", True), ("tuned", False)):
        item = TrainItem.of(before, method, "r8", 0)
        assert (defining_params(before, item) == defining_params(after, item)) == same


def test_an_option_outside_the_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"--seed 7 is not in params\.yaml; expected one of 0, 1\."):
        check_choice("--seed", 7, (0, 1))
