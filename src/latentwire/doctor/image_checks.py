"""`latentwire doctor --image`: is this image what its labels say, complete, and built from the code of this clone?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from latentwire import environment, image
from latentwire.digests import sha256_of
from latentwire.doctor import checks as doctor
from latentwire.doctor.checks import Check, State
from latentwire.errors import ConfigurationError
from latentwire.image import Clone, Image

SCRIPTS = ("python", "latentwire", "dvc", "mlflow")
"""Programs that must be the image's own."""


def examine_image(root: Path, prefix: Path = Path(sys.prefix)) -> list[Check]:
    """Every check of an image; a single one outside an image."""
    own = image.find_image(prefix)
    if own is None:
        advice = "apptainer run latentwire.sif doctor --image"
        return [Check("image", State.MISSING, f"{sys.executable} belongs to no image", advice)]
    parts = (_built(own), _digest(), _code(root, own), doctor.check_packages(prefix), doctor.check_torch(prefix))
    return [*(check for part in parts for check in part), *_place(prefix)]


def _built(own: Image) -> Iterator[Check]:
    clean = own.tree == "clean"
    advice = "" if clean else "commit, then `make image`: nobody else can build this one"
    yield Check("image", State.OK if clean else State.OPTIONAL, str(own), advice)


def _digest() -> Iterator[Check]:
    try:
        recorded = str(image.describe_image())
    except ConfigurationError as error:
        yield Check("image digest", State.MISSING, str(error))
        return
    file = environment.container_image()
    if not recorded.startswith("sha256:"):
        advice = "keep IMAGE.sha256 beside the image, or set LATENTWIRE_IMAGE_DIGEST"
        yield Check("image digest", State.OPTIONAL, recorded, advice)
    elif file is None or not file.is_file():
        yield Check("image digest", State.OK, f"{recorded}, as told; the file is not visible from inside")
    elif (actual := f"sha256:{sha256_of(file)}") == recorded:
        yield Check("image digest", State.OK, recorded)
    else:
        advice = f"in its folder, `sha256sum {file.name} >{file.name}.sha256`"
        yield Check("image digest", State.MISSING, f"{recorded}, but the file has {actual}", advice)


def _code(root: Path, own: Image) -> Iterator[Check]:
    try:
        image.check_image_code(root, own)
    except ConfigurationError as error:
        yield Check("code", State.MISSING, str(error))
        return
    clone = f"as in the clone {root.resolve()}" if Clone(root).has_source else f"no clone in {root.resolve()}"
    yield Check("code", State.OK, f"the image's; {clone}")


def _place(prefix: Path) -> Iterator[Check]:
    foreign = [name for name in SCRIPTS if shutil.which(name) != str(prefix / "bin" / name)]
    found = f"{', '.join(foreign)} of another environment" if foreign else f"all of {prefix}/bin"
    advice = f"unset what puts another folder before {prefix}/bin on the PATH" if foreign else ""
    yield Check("programs", State.MISSING if foreign else State.OK, found, advice)
    yield doctor.check_program("git", ("git", "--version"), "build the image again", needed=True)
    yield _temporary()


def _temporary() -> Check:
    folder = tempfile.gettempdir()
    writable = os.access(folder, os.W_OK)
    advice = "" if writable else "bind a folder to /tmp that may be written"
    return Check("temporary folder", State.OK if writable else State.MISSING, folder, advice)
