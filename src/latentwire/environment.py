"""Every environment variable that `latentwire` reads, sets or passes on; no other module touches `os.environ`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from latentwire.errors import ConfigurationError
from unbroken.environment import has_avx2
from unbroken.exact.kernels import Kernels, pin_kernels

# What MLflow is told before its first import; a value that the user has set wins.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no usage data leaves the machine
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its records go through our one handler
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror retries itself; a POST sent twice makes two runs
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; MLflow's 120 would outlast the end of a run
}

_NOT_OF_A_CLONE = ("MLFLOW_", "DVC_", "PYTHON", "LATENTWIRE_")
"""Variables that would lead the clone to results, runs or code of another place."""

_OF_ANY_GIT = re.compile(r"GIT_(CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)|EXEC_PATH)")
"""What git and its users say of every repository; the rest of GIT_… says which one is meant, and how."""

IMAGE_DIGEST = "LATENTWIRE_IMAGE_DIGEST"
"""SHA-256 of the image that runs, 64 hex: the batch script sets it, execution records carry it."""


def git_environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which git takes the repository of the folder that it runs in.

    Git's own hooks, and aliases, set GIT_DIR, GIT_WORK_TREE, GIT_INDEX_FILE and others, which would lead it elsewhere.
    """
    others = {name for name in variables if name.startswith("GIT_") and not _OF_ANY_GIT.fullmatch(name)}
    return {name: value for name, value in variables.items() if name not in others}


def forget_other_repositories() -> None:
    """Let what this process starts, and DVC in it, take the repository of their folder, as `git_environment` does."""
    for name in set(os.environ) - set(git_environment()):
        del os.environ[name]


def forget_no_size() -> None:
    """Remove COLUMNS and LINES where they are 0, as in some editors' shells: rich would print nothing."""
    for name in ("COLUMNS", "LINES"):
        text = os.environ.get(name, "")
        if not (text.isascii() and text.isdecimal() and int(text) > 0):
            os.environ.pop(name, None)


def image_digest() -> str | None:
    """LATENTWIRE_IMAGE_DIGEST; None when unset."""
    return os.environ.get(IMAGE_DIGEST) or None


def dvc_stage() -> str | None:
    """DVC_STAGE: the stage, by its name in `dvc.lock`, that DVC runs this process for; None outside of DVC."""
    return os.environ.get("DVC_STAGE") or None


def user_shell() -> str:
    """SHELL, by which DVC runs stages; /bin/sh where it is not set, as DVC has it."""
    return os.environ.get("SHELL") or "/bin/sh"


def container_image() -> Path | None:
    """APPTAINER_CONTAINER: the image file that Apptainer runs, by its path outside; None outside of a container."""
    path = os.environ.get("APPTAINER_CONTAINER")
    return Path(path) if path else None


def mlflow_tracking_uri() -> str | None:
    """MLFLOW_TRACKING_URI: the MLflow store or server; None means mlflow.db in the repository root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def requested_processes() -> int | None:
    """LATENTWIRE_PROCESSES: training processes that `latentwire.stages.train` starts; None leaves it to the machine.

    Raises:
        ConfigurationError: It is not a number above 0.
    """
    text = os.environ.get("LATENTWIRE_PROCESSES") or None
    if text is not None and not (text.isdecimal() and int(text) > 0):
        raise ConfigurationError(
            f"LATENTWIRE_PROCESSES is {text!r}; expected a number of processes above 0. "
            "Next: `unset LATENTWIRE_PROCESSES`, which takes one for each GPU or core."
        )
    return None if text is None else int(text)


def visible_devices() -> str | None:
    """CUDA_VISIBLE_DEVICES: the GPUs that CUDA shows, by number or UUID; None where it is not set and all are shown."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def counts_by_bus() -> bool:
    """Whether CUDA_DEVICE_ORDER lets CUDA count GPUs as they stand on the bus; otherwise it begins with the fastest."""
    return os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def use_one_process() -> None:
    """Set LATENTWIRE_PROCESSES to 1 where the user has not: then a kill of the trainer is the end of the stage."""
    os.environ.setdefault("LATENTWIRE_PROCESSES", "1")


def cublas_workspace() -> str:
    """CUBLAS_WORKSPACE_CONFIG, which cuBLAS needs to be deterministic; empty where it is not set."""
    return os.environ.get("CUBLAS_WORKSPACE_CONFIG", "")


def set_mlflow_defaults() -> None:
    """Set MLFLOW_DEFAULTS where the user has not; called once, right before MLflow is imported."""
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)


def set_torch_defaults() -> None:
    """Set what torch's libraries read at their start, where the user has not; called before torch is imported.

    GOMP_SPINCOUNT: OpenMP's threads spin while they wait for each other. On a machine that anything else uses, one
    thread that is not scheduled makes the others burn their time, and a step of one second takes ten; not spinning at
    all costs half as much again on an idle machine. A short spin has neither, and bits do not depend on it.
    CUBLAS_WORKSPACE_CONFIG: without it cuBLAS is not deterministic, and torch refuses to use it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def set_kernels(kernels: Kernels) -> list[str]:
    """Let this process and those that it starts compute with these kernels; called before numpy and torch are imported.

    Returns:
        The user's own settings that would have made other bits and were replaced, such as `MKL_CBWR=AVX512`.
    """
    return pin_kernels(os.environ, kernels, has_avx2=has_avx2())


def sqlite_uri(database: Path) -> str:
    """The URI of a SQLite file, as SQLAlchemy reads it: `#`, `%` and `?` in a path are not of the URI.

    Raises:
        ConfigurationError: The path is not UTF-8, as one that came from a system of another time may be.
    """
    path = str(database.resolve())
    if not _is_utf8(path):
        raise ConfigurationError(
            f"The folder {ascii(os.fsencode(Path(path).parent))[1:]} has a name that is not UTF-8, expected one that "
            "is, since neither MLflow nor DVC can name what lies there. Next: move the repository into another folder."
        )
    # MLflow makes the folder of what follows `sqlite:///`, as it is written; not where the driver is named.
    return f"sqlite:///{path}" if quote(path) == path else f"sqlite+pysqlite:///{quote(path)}"


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def use_tracking_uri(uri: str) -> None:
    """Set MLFLOW_TRACKING_URI for this process and those that it starts: a proof is no result and has its own store."""
    os.environ["MLFLOW_TRACKING_URI"] = uri


def latexmk_variables() -> dict[str, str]:
    """The environment of a run of LaTeX: lines of its log are not wrapped, which would hide what is searched there."""
    return {**os.environ, "max_print_line": "10000"}


def clone_environment(clone: Path, variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of processes that run in a clone: its own code, MLflow store and DVC state, this Python."""
    kept = {name: value for name, value in git_environment(variables).items() if not name.startswith(_NOT_OF_A_CLONE)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    own = {"PATH": path, "PYTHONPATH": str(clone / "src"), "DVC_SITE_CACHE_DIR": str(clone / ".cache/dvc")}
    # DVC runs stages by SHELL, which may be nologin, or the shell of another machine.
    return {**kept, **own, "PYTHONUNBUFFERED": "1", "SHELL": "/bin/sh"}


def rehearsal_environment(folder: Path, interrupt: str | None) -> dict[str, str]:
    """The environment of a stage that runs on tiny models in `folder`: no hub, its own store, nothing of a real run.

    UNBROKEN_INTERRUPT is the signal that it sends to itself, such as TERM@3.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("UNBROKEN_", "MLFLOW_", "SLURM_"))
    }
    own = {"HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": sqlite_uri(folder / "mlflow.db")}
    return {**kept, **own, **({"UNBROKEN_INTERRUPT": interrupt} if interrupt else {})}
