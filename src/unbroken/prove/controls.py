"""After which step a negative control has something to lose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from unbroken.checkpoint.state import compare_states, state_part
from unbroken.prove.runs import RunEvidence


def find_changed_steps(reference: RunEvidence) -> Mapping[str, Sequence[int]]:
    """Part of the state -> steps after which it is not what it was after the first one, for parts that have any.

    The last step is none of them, since nothing resumes after it: a part that changes there alone cannot be lost. What
    the library keeps of its own (`$epoch`) is no part that a program could forget.
    """
    first, last = reference.trace[0], reference.step
    steps = defaultdict[str, list[int]](list)
    for line in reference.trace[1:-1] or reference.trace[1:]:
        places = compare_states(first["tree"], first["tensors"], line["tree"], line["tensors"])
        for part in sorted({state_part(place) for place in places}):
            if not part.startswith("$"):
                steps[part].append(min(line["step"], last - 1))
    return dict(sorted(steps.items()))


def choose_control_steps(total: int, changed: Sequence[int] | None = None) -> list[int]:
    """The steps to drop a part after, one after the other until its loss is noticed.

    In the middle of the run; a step earlier, since where an epoch ends, as it often does in the middle, what is carried
    through it begins anew; and where most of the part has happened, as of an average that begins late.

    Args:
        total: How many steps the run has.
        changed: Those of `find_changed_steps`; None: nobody knows.
    """
    middle = max(1, total // 2)
    steps = [step for step in (middle, middle - 1) if step > 0 and (changed is None or step in changed)]
    late = [changed[len(changed) // 2]] if changed else []
    return list(dict.fromkeys([*steps, *late]))
