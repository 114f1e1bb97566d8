"""The crate's metadata: what RO-Crate 1.1 requires, from the facts of CITATION.cff."""

from __future__ import annotations

from typing import Any

from latentwire.archive.ro_crate import ArchivedFile, ArchiveInfo, citation_fields, crate_metadata

CITED = {
    "title": "latentwire",
    "version": "0.1.0",
    "license": "Apache-2.0",
    "authors": [
        {"family-names": "Noether", "given-names": "Emmy", "orcid": "https://orcid.org/0000-0000-0000-0001"},
        {"name": "The developers"},
    ],
}
PARTS = [
    ArchivedFile("params.yaml", 10, "a" * 64),
    ArchivedFile("reports/tables/a b.tex", 20, "b" * 64),
    ArchivedFile("code-1.tar", 30, "c" * 64),
]


def graph(draft: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    made = crate_metadata(ArchiveInfo("One wire", CITED, "1" * 40, "2026-01-31", draft), PARTS, "code-1.tar")
    assert made["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    return {entity["@id"]: entity for entity in made["@graph"]}


def test_the_descriptor_points_to_the_root() -> None:
    descriptor = graph()["ro-crate-metadata.json"]
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert descriptor["about"] == {"@id": "./"}


def test_the_root_has_what_the_specification_requires() -> None:
    entities = graph()
    root = entities["./"]
    assert (root["@type"], root["name"], root["datePublished"]) == ("Dataset", "One wire", "2026-01-31")
    assert entities[root["license"]["@id"]]["name"] == "Apache-2.0"
    names = [entities[author["@id"]]["name"] for author in root["author"]]
    assert names == ["Emmy Noether", "The developers"]
    assert "creativeWorkStatus" not in root


def test_every_reference_is_an_entity_and_every_file_has_its_digest() -> None:
    entities = graph()
    for part in entities["./"]["hasPart"]:
        assert len(entities[part["@id"]]["sha256"]) == 64
    assert "reports/tables/a%20b.tex" in entities
    run = entities["#run"]
    assert entities[run["instrument"]["@id"]]["version"] == "1" * 40
    assert run["result"] == [{"@id": "reports/tables/a%20b.tex"}]


def test_a_draft_is_marked_in_both_files() -> None:
    assert graph(("a row differs",))["./"]["creativeWorkStatus"] == "Draft"
    cited = citation_fields(ArchiveInfo("One wire", CITED, "1" * 40, "2026-01-31", ("a row differs",)))
    assert cited["title"] == "DRAFT: One wire"


def test_the_citation_has_the_same_facts() -> None:
    cited = citation_fields(ArchiveInfo("One wire", CITED, "1" * 40, "2026-01-31", ()))
    assert (cited["type"], cited["title"], cited["commit"]) == ("dataset", "One wire", "1" * 40)
    assert cited["authors"] == CITED["authors"]
    assert cited["references"][0]["version"] == "0.1.0"
