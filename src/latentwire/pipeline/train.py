"""An item of the training matrix → `results/train/METHOD-TASK-SEED/`: its method, trained from where it was to its end.

`train_item` is the whole of it, in the order in which it happens; `TrainRun` holds the parts by name.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from latentwire.console.progress import Bar, no_progress_bar, progress_bar
from latentwire.image import describe_image
from latentwire.item import TrainItem
from latentwire.models.layout import LayoutState
from latentwire.output_files import write_text_file
from latentwire.params.load import Params
from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.runs import tracked_item
from latentwire.training.assemble import assemble_trainer, join_process_group, make_gradients
from latentwire.training.exact import Exact
from latentwire.training.loop import Trainer, train_method
from latentwire.training.numerics import describe_execution, describe_numerics
from latentwire.training.run_identity import identity
from latentwire.training.shard_batching import choose_shards_per_pass
from latentwire.training.throughput import Throughput
from unbroken.canonical_json import JSON
from unbroken.checkpoint.state import Holder
from unbroken.errors import log_sentence
from unbroken.exact.group import Group
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.code_digest import source_digest
from unbroken.run_folder.identity import Identity, open_run_folder
from unbroken.run_folder.journal import read_journal


def train_item(values: Params, item: TrainItem, state: Path, results: Path) -> None:
    """Train an item to its end, from where it was, as one of the ranks that train it together.

    Args:
        values: All parameters.
        item: What is trained.
        state: Folder of the run folders.
        results: Gets the final checkpoint; its metrics go into a file beside it.

    Raises:
        unbroken.preemption.Preempted: A signal came to some rank; the next start goes on.
    """
    stop = StopFlag.install()
    with closing(join_process_group(values.runtime, stop)) as group:
        training = TrainRun.assemble(values, item, state, group)
        stop.check(group)
        batching = choose_shards_per_pass(training.gradients, training.folder, training.numerics)
        # The trial drew random numbers for the shards of this process only; every process goes on from the same state.
        seed_all(item.seed, purpose="training")
        stop.check(group)
        with training.open(stop, batching) as run, training.show_progress(run.step) as bar:
            train_method(training.trainer, training.gradients, run, training.optimizer, training.schedule, bar.advance)
            run.export(results)
        if training.is_first:
            _write_metrics(results)
        group.barrier()


@dataclass(frozen=True)
class TrainRun:
    """An item on one of the processes that train it."""

    values: Params
    item: TrainItem
    group: Group
    identity: Identity
    folder: Path
    """Its run folder."""
    trainer: Trainer
    gradients: Exact | Throughput
    optimizer: AdamW
    schedule: LambdaLR

    @classmethod
    def assemble(cls, values: Params, item: TrainItem, state: Path, group: Group) -> TrainRun:
        """Find the run folder, load data and frozen models, and make the method.

        Raises:
            ConfigurationError: A file is missing, or the features are of other examples.
        """
        defined = identity(values, item)
        folder = open_run_folder(state, item.name, defined, log_sentence if group.rank == 0 else lambda _: None)
        trainer = assemble_trainer(values, item, group)
        optimizer = trainer.make_optimizer()
        schedule = trainer.make_schedule(optimizer)
        return cls(values, item, group, defined, folder, trainer, make_gradients(trainer, group), optimizer, schedule)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and shows; the others only compute."""
        return self.group.rank == 0

    @property
    def state(self) -> dict[str, Holder]:
        """What a checkpoint holds, by name."""
        layouts = {reader.name: reader.layout for reader in self.trainer.receivers}
        return {
            self.values.methods[self.item.method].kind: self.trainer.method,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "layout": LayoutState(layouts),
        }

    @property
    def numerics(self) -> dict[str, JSON]:
        """What its bits depend on besides its identity."""
        return describe_numerics(self.values.runtime, self.values.train, self.group)

    @property
    def observers(self) -> list[MlflowMirror]:
        """Who is told what became durable."""
        if not self.is_first:
            return []
        shown = tracked_item(self.values, self.item, self.identity.digest)
        return [MlflowMirror(shown, experiment=self.values.tracking.experiment, root=Path())]

    def start_info(self, batching: dict[str, JSON]) -> dict[str, JSON]:
        """What its `start` event says of this execution."""
        source = {"image": describe_image(), "latentwire": source_digest("latentwire")[:12]}
        return {**source, **describe_execution(self.values.runtime, self.group), "together": batching}

    def open(self, stop: StopFlag, batching: dict[str, JSON]) -> Run:
        """The run in its folder: enter it to go back to the newest good checkpoint."""
        settings = self.values.train.checkpoint
        return Run(
            self.folder,
            identity=self.identity,
            state=self.state,
            stop=stop,
            group=self.group,
            numerics=self.numerics,
            every=settings.every,
            keep=settings.keep,
            preemptions_per_hour=settings.preemptions_per_hour,
            observers=self.observers,
            start_info=self.start_info(batching),
        )

    def show_progress(self, done: int) -> AbstractContextManager[Bar]:
        """A bar of all steps, of which some are done; the other processes have one that shows nothing."""
        return progress_bar(self.values.train.steps, self.item.name, done) if self.is_first else no_progress_bar()


def _write_metrics(results: Path) -> None:
    """What `dvc metrics show` shows of an item: the numbers of its last step."""
    last = read_journal(results / "journal.jsonl")[-1]
    metrics = {name: value for name, value in last.items() if name == "train/loss" or name.startswith("validation/")}
    write_text_file(results.with_suffix(".json"), json.dumps(metrics, indent=1, sort_keys=True) + "\n")
