"""`ro-crate-metadata.json` (RO-Crate 1.1) and `CITATION.cff` of an archive, from the same `ArchiveInfo`."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

METADATA = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "http://schema.org/sha256"}]
"""RO-Crate's own context does not define `sha256`."""
FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
    ".lock": "text/plain",
    ".jsonl": "application/jsonl",
    ".tex": "application/x-tex",
    ".cff": "application/yaml",
}


@dataclass(frozen=True)
class ArchiveInfo:
    """What is archived. `citation` is the software's CITATION.cff; `draft` lists the reasons not to publish."""

    title: str
    citation: Mapping[str, Any]
    commit: str
    date: str
    draft: Sequence[str]

    @property
    def shown_title(self) -> str:
        """The title, marked where this is a draft."""
        return f"DRAFT: {self.title}" if self.draft else self.title


@dataclass(frozen=True)
class ArchivedFile:
    """A file of the archive, by its path in it."""

    path: str
    size: int
    sha256: str


def crate_metadata(info: ArchiveInfo, parts: Sequence[ArchivedFile], code: str) -> dict[str, Any]:
    """The crate: descriptor, root, licence, authors, the run that made the results, and every file.

    Args:
        info: What is archived.
        parts: All files but the metadata itself.
        code: Path of the archived code.
    """
    license_id = f"https://spdx.org/licenses/{info.citation['license']}"
    authors = [_author(author, index) for index, author in enumerate(info.citation["authors"], 1)]
    return {
        "@context": CONTEXT,
        "@graph": [
            {
                "@id": METADATA,
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            },
            _root(info, license_id, authors, parts),
            {"@id": license_id, "@type": "CreativeWork", "name": info.citation["license"]},
            *authors,
            _run(parts, code),
            *(_file(part, info.commit if part.path == code else None) for part in parts),
        ],
    }


def citation_fields(info: ArchiveInfo) -> dict[str, Any]:
    """`CITATION.cff` of the archive: the results, with the software that made them as a reference."""
    software = {key: info.citation[key] for key in ("title", "version", "license", "authors") if key in info.citation}
    return {
        "cff-version": "1.2.0",
        "message": "If you use these results, please cite them as below.",
        "type": "dataset",
        "title": info.shown_title,
        "authors": [dict(author) for author in info.citation["authors"]],  # YAML would point to the same object
        "license": info.citation["license"],
        "date-released": info.date,
        "commit": info.commit,
        "references": [{"type": "software", "commit": info.commit, **software}],
    }


def _root(
    info: ArchiveInfo, license_id: str, authors: list[dict[str, Any]], parts: Sequence[ArchivedFile]
) -> dict[str, Any]:
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": info.shown_title,
        "description": "Predictions, statistics, tables, figures and paper, with the parameters and the code revision "
        f"{info.commit} that they come from.",
        "datePublished": info.date,
        "license": {"@id": license_id},
        "author": [{"@id": author["@id"]} for author in authors],
        "hasPart": [{"@id": quote(part.path)} for part in parts],
        "mentions": [{"@id": "#run"}],
    }
    return {**root, "creativeWorkStatus": "Draft"} if info.draft else root


def _author(author: Mapping[str, Any], index: int) -> dict[str, Any]:
    if "family-names" not in author:
        return {"@id": f"#author-{index}", "@type": "Organization", "name": author["name"]}
    name = {"givenName": author.get("given-names", ""), "familyName": author["family-names"]}
    entity = {"@id": author.get("orcid", f"#author-{index}"), "@type": "Person", **name}
    return {**entity, "name": f"{name['givenName']} {name['familyName']}".strip()}


def _run(parts: Sequence[ArchivedFile], code: str) -> dict[str, Any]:
    made = [part.path for part in parts if part.path.startswith(("results/", "reports/"))]
    return {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "dvc repro",
        "instrument": {"@id": quote(code)},
        "object": [{"@id": "params.yaml"}, {"@id": "dvc.lock"}],
        "result": [{"@id": quote(path)} for path in made],
    }


def _file(part: ArchivedFile, commit: str | None) -> dict[str, Any]:
    suffix = part.path[part.path.rfind(".") :] if "." in part.path else ""
    kind = FORMATS.get(suffix) or mimetypes.guess_type(part.path)[0] or "text/plain"
    entity = {
        "@id": quote(part.path),
        "@type": "File",
        "name": part.path,
        "contentSize": str(part.size),
        "encodingFormat": kind,
        "sha256": part.sha256,
    }
    if commit is None:
        return entity
    return {**entity, "@type": ["File", "SoftwareSourceCode"], "version": commit, "programmingLanguage": "Python"}
