"""Events as JSON: names and fields are stable, and documented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer import progress
from distore.transfer.progress import (
    Done,
    Event,
    Finished,
    Moved,
    Noted,
    Planned,
    Resolved,
    Started,
    Unpacked,
    Unpacking,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "events.md"
DIGEST = Digest.of(b"")
ROOT = Descriptor(media_type=mediatypes.OCI_INDEX, digest=DIGEST, size=0, annotations={"a": "b"})
EVENTS = [
    Resolved(name="a/b:c", descriptor=ROOT),
    Planned(blobs=2, size=9, missing_blobs=1, missing=4, kept=1),
    Started(digest=DIGEST, media_type=mediatypes.OCI_LAYER, size=5, offset=1),
    Moved(digest=DIGEST, offset=3, size=5),
    Done(digest=DIGEST, media_type=mediatypes.OCI_LAYER, size=5, how="fetched"),
    Unpacking(digest=DIGEST, offset=3, size=5),
    Unpacked(digest=DIGEST, chain_id=DIGEST, size=5, plain=7, how="unpacked"),
    Noted(text="hello"),
    Finished(name="a/b:c", descriptor=ROOT, size=9, moved=4, seconds=0.5),
]
FIELDS = {
    "resolved": ["name", "descriptor"],
    "planned": ["blobs", "size", "missing_blobs", "missing", "kept", "unpack"],
    "started": ["digest", "media_type", "size", "offset"],
    "moved": ["digest", "offset", "size"],
    "done": ["digest", "media_type", "size", "how"],
    "unpacking": ["digest", "offset", "size"],
    "unpacked": ["digest", "chain_id", "size", "plain", "how", "left_out"],
    "note": ["text"],
    "finished": ["name", "descriptor", "size", "moved", "seconds"],
}


def test_every_kind_of_event_is_known_here() -> None:
    kinds = {kind for kind in vars(progress).values() if isinstance(kind, type) and issubclass(kind, Event)}

    assert kinds - {Event} == {type(event) for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event)
def test_an_event_has_its_name_first_and_its_fields(event: Event) -> None:
    document = event.to_json()

    assert list(document) == ["event", *FIELDS[event.event]]
    assert json.loads(json.dumps(document)) == document


def test_a_descriptor_is_as_in_a_manifest() -> None:
    assert EVENTS[0].to_json()["descriptor"] == {
        "mediaType": mediatypes.OCI_INDEX,
        "digest": DIGEST,
        "size": 0,
        "annotations": {"a": "b"},
    }


def test_the_page_has_an_example_of_every_event_with_just_its_fields() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith('{"event"')]

    examples = {document["event"]: list(document) for document in map(json.loads, lines)}

    assert examples == {name: ["event", *fields] for name, fields in FIELDS.items()}


def test_the_page_describes_every_field_of_every_event() -> None:
    sections = re.split(r"(?m)^## ", PAGE.read_text())[1:]
    described = {section.split("\n", 1)[0].strip("` "): section for section in sections}

    for name, fields in FIELDS.items():
        for field in fields:
            assert f"| `{field}` |" in described[name], f"{name}.{field}"
