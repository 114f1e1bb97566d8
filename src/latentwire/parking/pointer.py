"""The pointer: a `.dvc` file that names one parked checkpoint; the same bytes wherever it is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.yaml_files import parse_yaml

FOLDER = Path("checkpoints")
"""Where the repository keeps its pointers."""
DATA = Path("parked")
"""Where DVC would put what they point to; git-ignored, not DVC-ignored."""

NAME = re.compile(r"\d{8,18}-\d{6,}-[0-9a-f]{32}\.dvc")
"""What a pointer is called in the remote; killed uploads leave other names."""

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Listing = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class ParkingError(LatentWireError):
    """A checkpoint could not be parked or fetched; exits with 1."""


class RemoteError(ParkingError):
    """The remote did not answer, which says nothing about what is in it."""


class Pointer(BaseModel):
    """One parked version of one item. It holds no clock and no host: parking the same thing twice is one thing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    item: Name
    identity: Hex
    step: PositiveInt
    events: NonNegativeInt
    """Lines of the execution record that travel with it."""
    listing: Listing
    """DVC's name of the object that lists the files."""
    size: PositiveInt
    """Bytes of all files."""
    files: PositiveInt

    @property
    def run(self) -> str:
        """Name of the run folder, of the remote's folder and of the git ref."""
        return f"{self.item}-{self.identity[:12]}"

    @property
    def name(self) -> str:
        """Name in the remote."""
        return f"{self.step:08d}-{self.events:06d}-{self.listing.removesuffix('.dir')}.dvc"

    def text(self) -> bytes:
        """The `.dvc` file."""
        out = {"md5": self.listing, "size": self.size, "nfiles": self.files, "hash": "md5"}
        own = {"item": self.item, "identity": self.identity, "step": self.step, "events": self.events}
        fields = {"wdir": "..", "outs": [{**out, "path": f"{DATA}/{self.item}"}], "meta": {"latentwire": own}}
        return yaml.safe_dump(fields, sort_keys=False).encode()


def parse_pointer(data: bytes, where: str) -> Pointer:
    """Read a pointer.

    Raises:
        ParkingError: It is not, byte for byte, what `Pointer.text` writes.
    """
    try:
        fields = parse_yaml(data, where)
        out = fields["outs"][0]
        pointer = Pointer(**fields["meta"]["latentwire"], listing=out["md5"], size=out["size"], files=out["nfiles"])
    except (ConfigurationError, ValidationError, KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
        raise ParkingError(f"{where} is no pointer to a parked checkpoint ({type(error).__name__}).") from error
    if pointer.text() != data:
        raise ParkingError(f"{where} reads as a pointer, but is not what `latentwire park` would have written.")
    return pointer
