"""Stage `code`: digests of the code that defines the results of every other stage, without comments and docstrings.

Every stage depends on its file here and on no source file. So a change of words, or of what only carries a result,
ends with the same bytes here, and nothing runs again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.exits import run_stage
from latentwire.output_files import replace_file
from latentwire.result_code import FOLDER, result_code_text, result_stages


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/code/STAGE.json` for every stage."""
    argparse.ArgumentParser(prog="python -m latentwire.stages.code", description=__doc__).parse_args(argv)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stage in result_stages():
        with replace_file(FOLDER / f"{stage}.json") as partial:
            partial.write_bytes(result_code_text(stage))


if __name__ == "__main__":
    run_stage(main)
