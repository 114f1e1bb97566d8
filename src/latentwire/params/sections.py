"""The sections of `params.yaml`: frozen, typed, each key with its meaning; `params.load` is the whole."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from latentwire.params.formats import DataFormat, read_label_keys
from latentwire.params.printed_names import clean_name, clean_title
from latentwire.params.section import Distinct, Fraction, Name, Positive, Real, Section, Seed, Whole
from latentwire.params.sources import DataSource
from unbroken.exact.kernels import Kernels

MetricName = Literal["accuracy", "macro_f1", "balanced_accuracy"]
BaselineName = Literal["majority", "probe", "text", "calibrated", "truncated", "few_shot", "readout"]
PERMUTED = "permuted-"
"""Before a seed whose training labels are permuted."""
_PERMUTED_SEED = re.compile(rf"{PERMUTED}(0|[1-9][0-9]*)", re.ASCII)
BASELINES: tuple[str, ...] = get_args(BaselineName)


class Task(Section):
    """A text classification task and the words around the wire."""

    source: DataSource
    format: DataFormat
    labels: Annotated[dict[str, str], BeforeValidator(read_label_keys)]
    """Label in the data → what the receiver is to say after the anchor."""
    primer: str
    """Read by the receiver before the wire or the text. Where primer, text, anchor and answer would be glued together,
    a space stands between them; white space that is there already is not doubled. `prompts.json` shows the result."""
    anchor: str
    """Read by the receiver after the wire or the text; the answer follows."""
    unseen: tuple[dict[str, str], ...] = ()
    """Other words for the labels, each set as `labels`. Wires are asked for them, too, though no training names them;
    every word is one token of every receiver."""

    @model_validator(mode="after")
    def _labels_differ(self) -> Task:
        if len(self.labels) < 2 or len(set(self.labels.values())) != len(self.labels):
            raise ValueError(f"labels must be at least two and said differently, found {self.labels}")
        return self

    @model_validator(mode="after")
    def _unseen_words_are_others(self) -> Task:
        trained = {word.strip() for word in self.labels.values()}
        for words in self.unseen:
            said = {word.strip() for word in words.values()}
            if set(words) != set(self.labels) or len(said) != len(words) or said & trained:
                raise ValueError(
                    f"unseen must have, for each of the labels {', '.join(self.labels)}, a word that is neither that "
                    f"of another label nor among those of `labels`, found {words}"
                )
        return self


class Runtime(Section):
    """What changes the bits of every number computed with torch."""

    threads: Annotated[Positive, Field(le=1024)]
    """CPU threads of stages that are one process, because sums depend on it; a training process has one."""
    device: Literal["cpu", "cuda"]
    """Where everything is computed; the two give different bits, so it is named, never guessed."""
    dtype: Literal["float32", "bfloat16"]
    """Weights and activations of frozen models; trained weights are always float32."""
    numerics: Kernels
    """`portable`: kernels that give the same bytes on every x86-64 processor with AVX2. `native`: the best of this
    machine's processor or GPU; results say so, because other machines give other bytes."""

    @model_validator(mode="after")
    def _portable_on_processors(self) -> Runtime:
        if self.device == "cuda" and self.numerics == "portable":
            raise ValueError(
                "numerics portable is promised for processors, and device is cuda; expected numerics native, which "
                "gives the same bytes on the same kind of GPU and the same build (docs/reproducibility.md)"
            )
        return self


class Fractions(Section):
    """Shares of the texts, decided by the hash of their content."""

    validation: Fraction
    test: Fraction
    """Unused where the task has an official test file."""

    @model_validator(mode="after")
    def _leave_some(self) -> Fractions:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation and test must leave texts to train on, found {self.validation} and {self.test}, which "
                f"are {self.validation + self.test:g} of all"
            )
        return self


class Limits(Section):
    """Most examples per split, taken in the order of their hash."""

    train: Positive
    validation: Positive
    test: Positive


class Prepare(Section):
    """Stage `prepare`."""

    tasks: Distinct[Name] = Field(min_length=1)
    fractions: Fractions
    limits: Limits


class Encode(Section):
    """Stage `encode`: the hidden states of the sender."""

    sender: Name
    """Model that reads the text."""
    layer: Whole
    """Hidden state that is taken: 0 is the embedding output, -1 the last layer."""
    max_tokens: Positive
    """Longer texts are cut here."""
    batch: Positive
    """Texts per forward; part of the result, because the shapes of sums depend on it."""


class Losses(Section):
    """Weights of the terms of the objective."""

    token_ce: Real = Field(ge=0)
    """Cross-entropy of the answer's tokens over the vocabulary."""
    label_ce: Real = Field(ge=0)
    """Cross-entropy over the label set's summed token log-likelihoods."""
    collapse: Real = Field(ge=0)
    """Mean off-diagonal cosine of the batch's flattened wires; leave at 0 for two classes."""

    @model_validator(mode="after")
    def _some_supervision(self) -> Losses:
        if self.token_ce + self.label_ce == 0:
            raise ValueError("token_ce or label_ce must be above 0, found both at 0")
        return self


class Validate(Section):
    """Validation while training."""

    every: Positive
    """Steps between two validations; the last step is always followed by one."""
    examples: Positive
    """Number of texts, the first ones of the validation split."""


def _seed_or_permuted(value: Any) -> Any:
    number = int(value.removeprefix(PERMUTED)) if _PERMUTED_SEED.fullmatch(str(value)) else value
    if type(number) is int and 0 <= number < 2**63:
        return value
    raise ValueError(f"expected an integer seed from 0 and below 2**63, or {PERMUTED}SEED, found {value!r}")


def _steps_or_auto(value: Any) -> Any:
    if value == "auto" or (type(value) is int and value > 0):
        return value
    raise ValueError(f"expected a number of steps above 0, or auto, found {value!r}")


class CheckpointPolicy(Section):
    """How often a run is made durable; changes no result."""

    every: Annotated[int | Literal["auto"], PlainValidator(_steps_or_auto)]
    """Steps between two checkpoints, or `auto`: as often as pays, from the measured cost of one (Young/Daly)."""
    keep: Positive
    """Newest checkpoints kept, besides the final one."""
    preemptions_per_hour: Annotated[Real, Field(gt=0)] | None = None
    """For `auto`: how often this machine ends a run early; without it, what the run's own history says."""


class Ablations(Section):
    """Further trained methods, with fewer trainings: each shows what a part of those of `train.methods` is for."""

    methods: Distinct[Name]
    """Compared with the first of `train.methods`, on the seeds that both have. They have no controls, no unseen words
    and no lower precisions. May be empty."""
    seeds: Distinct[Seed]
    """Among train.seeds. One seed says nothing of how trainings vary, and the report says so."""

    @model_validator(mode="after")
    def _have_seeds(self) -> Ablations:
        if self.methods and not self.seeds:
            raise ValueError(f"seeds must be one at least, for the methods {', '.join(self.methods)}, found none")
        return self


class Train(Section):
    """Stage `train`."""

    methods: Distinct[Name] = Field(min_length=1)
    seeds: Distinct[Annotated[int | str, PlainValidator(_seed_or_permuted)]] = Field(min_length=1)
    """Seeds. `permuted-0` is seed 0 with the labels of the training split in another order, and all else done with them
    as it is with the true ones: a control, whose answers are right by chance alone unless something leaks."""
    ablations: Ablations
    steps: Positive
    batch: Positive
    """Examples in a step, over all shards."""
    balance: Real = Field(default=0.0, ge=0, le=1)
    """Share of the draws that is divided equally among the labels; the rest falls to them as often as they occur. At 0
    each example is drawn once before any is drawn again; above, those of rare labels come again and again, and some of
    frequent labels never. Logistic layers learn from the same examples, as often as drawn or once each, whichever
    cross-validation on them prefers."""
    shards: Positive
    """V, virtual shards of a step; gradients are folded over their binary tree. At most V processes share a step."""
    mode: Literal["exact", "throughput"]
    """`exact`: the same bytes for any number of processes. `throughput`: plain data parallelism; results say so."""
    lr: Real = Field(gt=0)
    """Peak learning rate of AdamW."""
    warmup: Whole = Field(ge=0)
    """Steps of linear warm-up; a cosine to 0 follows."""
    weight_decay: Real = Field(ge=0)
    clip: Real = Field(gt=0)
    """Largest norm of the gradient."""
    losses: Losses
    validate_: Validate = Field(alias="validate")
    checkpoint: CheckpointPolicy

    @property
    def own_seeds(self) -> tuple[int, ...]:
        """Seeds of the trainings on the labels as they are."""
        return tuple(seed for seed in self.seeds if isinstance(seed, int))

    @property
    def permuted_seeds(self) -> tuple[int, ...]:
        """Seeds of the trainings on permuted labels."""
        return tuple(int(seed.removeprefix(PERMUTED)) for seed in self.seeds if isinstance(seed, str))

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method that is trained, ablations last."""
        return (*self.methods, *self.ablations.methods)

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Seeds of the trainings of a method on the labels as they are."""
        return self.ablations.seeds if method in self.ablations.methods else self.own_seeds

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        if not self.own_seeds:
            raise ValueError(f"seeds must have one that is not permuted, found {', '.join(map(str, self.seeds))}")
        if self.batch % self.shards:
            raise ValueError(f"batch must be a multiple of shards, found {self.batch} and {self.shards}")
        if self.warmup >= self.steps:
            raise ValueError(f"warmup must be below steps, found {self.warmup} and {self.steps}")
        return self

    @model_validator(mode="after")
    def _ablations_are_others(self) -> Train:
        both = [name for name in self.ablations.methods if name in self.methods]
        if both:
            raise ValueError(f"ablations.methods must be others than methods, found {both[0]} in both")
        unknown = [seed for seed in self.ablations.seeds if seed not in self.own_seeds]
        if unknown:
            raise ValueError(
                f"ablations.seeds must be among the seeds that are not permuted, {self.own_seeds}, found {unknown[0]}"
            )
        return self


class Baseline(Section):
    """Stage `baseline`: what has no seed is computed once."""

    methods: Distinct[BaselineName]
    """`readout`: a logistic layer on a receiver's label scores for the text. It and the `probe` on the sender's mean
    features learn from the labelled examples that a wire of the first seed is trained on, `majority` from the whole
    training split, `few_shot` is shown some of those examples in its prompt, the others learn from none."""
    shots: Positive = 8
    """Solved examples that stand before the text of `few_shot`: the first of each label in turn."""
    budget_of: Name
    """Method whose number of slots is the token budget of `truncated`."""
    max_tokens: Positive
    """Longer texts are cut here."""
    probe_c: Real = Field(gt=0)
    """Inverse regularisation of every logistic layer: on the sender's features, on label scores, on wires."""


class Samples(Section):
    """Free answers that are kept to be looked at; no table is made of them."""

    examples: Positive
    """Number of texts, the first ones of the test split."""
    tokens: Positive
    """Tokens of an answer, by greedy decoding."""


class Evaluate(Section):
    """Stage `evaluate`."""

    batch: Positive
    """Examples per forward."""
    controls: Distinct[Literal["shuffled", "noise"]]
    """`shuffled`: the answers to the next example's wire. `noise`: the receiver reads noise of the wire's strength."""
    precisions: Distinct[Literal["int8", "int4"]] = ()
    """Every receiver also reads each wire after these many bits of a number, with a scale for each 32 of them; without
    one, the wire is sent in float16 alone."""
    samples: Samples


class Aggregate(Section):
    """Stage `aggregate`."""

    confidence: Real = Field(gt=0.5, lt=1)
    """Coverage of every interval."""
    metrics: dict[Name, MetricName] = Field(default_factory=dict)
    """Task → metric by which its methods are judged: `accuracy`, `macro_f1` or `balanced_accuracy`; accuracy where none
    is named, which misleads where a few classes hold most texts. All three are computed and printed."""
    reference: BaselineName
    """Baseline that differences are taken from."""
    adjust: Literal["holm", "bh"]
    """Correction within a declared family, over all tasks and receivers; every difference is in one family."""
    retained: Real = Field(gt=0, le=1)
    """Share of the reference's score that a method must keep to be called non-inferior."""
    margin: Real = Field(gt=0, lt=1)
    """Scores that differ by no more than this count as equal, in tests of equivalence and posteriors."""
    resamples: Whole = Field(ge=100, le=1_000_000)
    """Draws of every bootstrap and permutation test."""
    seed: Seed
    """Of the generator of those draws."""

    @model_validator(mode="after")
    def _draws_reach_the_tails(self) -> Aggregate:
        if (1 - self.confidence) * self.resamples < 2:
            raise ValueError(
                f"confidence {self.confidence} leaves no draw of {self.resamples} resamples outside of an interval on "
                f"either side; expected resamples of 2 / (1 - confidence) or more"
            )
        return self


class Report(Section):
    """Stage `report`."""

    title: Annotated[str, AfterValidator(clean_title)]
    names: dict[str, Annotated[str, AfterValidator(clean_name)]]
    """Method, receiver or task → how tables and figures call it."""


class Verify(Section):
    """Command `latentwire verify`; changes no result."""

    tolerances: dict[str, Annotated[Real, Field(ge=0)]]
    """`features`: how far the sender's features may lie from the published ones; numbers have their own uncertainty.

    Other names are of older revisions, and are not read."""


class Tracking(Section):
    """MLflow; the store itself is named by MLFLOW_TRACKING_URI."""

    experiment: Annotated[str, Field(pattern=r"^\S(.*\S)?$", max_length=256)]
