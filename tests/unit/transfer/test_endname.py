"""What people type as an end of a copy."""

from __future__ import annotations

import pytest

from distore.errors import InvalidArgument
from distore.oci.reference import Reference
from distore.transfer.endname import FORMS, EndName, Kind

REDIS = Reference.parse("redis:7")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker://redis:7", EndName(kind=Kind.REGISTRY, reference=REDIS)),
        ("redis:7", EndName(kind=Kind.REGISTRY, reference=REDIS)),
        ("docker:24", EndName(kind=Kind.REGISTRY, reference=Reference.parse("docker:24"))),
        ("localhost:5000/a", EndName(kind=Kind.REGISTRY, reference=Reference.parse("localhost:5000/a"))),
        ("store:redis:7", EndName(kind=Kind.STORE, reference=REDIS)),
        ("oci:folder", EndName(kind=Kind.LAYOUT, path="folder")),
        ("oci:/a/b.c:v1", EndName(kind=Kind.LAYOUT, path="/a/b.c", name="v1")),
        ("oci:folder:redis:7", EndName(kind=Kind.LAYOUT, path="folder", name="redis:7")),
        ("oci:a:b/c:tag", EndName(kind=Kind.LAYOUT, path="a", name="b/c:tag")),
        ("oci-archive:../x.tar", EndName(kind=Kind.OCI_ARCHIVE, path="../x.tar")),
        ("oci-archive:x.tar:_v-", EndName(kind=Kind.OCI_ARCHIVE, path="x.tar", name="_v-")),
        ("docker-archive:x.tar", EndName(kind=Kind.DOCKER_ARCHIVE, path="x.tar")),
        ("docker-archive:x.tar:redis:7", EndName(kind=Kind.DOCKER_ARCHIVE, path="x.tar", reference=REDIS)),
        (
            "docker-archive:x.tar:redis",
            EndName(kind=Kind.DOCKER_ARCHIVE, path="x.tar", reference=Reference.parse("redis:latest")),
        ),
    ],
)
def test_every_form_is_read_as_skopeo_reads_it(text: str, expected: EndName) -> None:
    assert EndName.parse(text) == expected


@pytest.mark.parametrize("text", ["docker://redis:7", "store:redis:7", "oci:a:b:1", "docker-archive:x:redis"])
def test_what_an_end_is_called_parses_to_the_same_end(text: str) -> None:
    end = EndName.parse(text)

    assert EndName.parse(str(end)) == end


@pytest.mark.parametrize(
    "text",
    [
        "",
        "oci:",
        "oci::tag",
        "oci:folder:",
        "oci:fol\0der",
        "oci:folder:white space",
        "oci:folder:line\nbreak",
        "oci:folder:" + "x" * 600,
        "oci:" + "x" * 5000,
        "docker-archive:x.tar:redis@sha256:" + "0" * 64,
        "docker-archive:x.tar:UPPER",
        "docker://",
        "store:",
        "dir:folder",
        "docker-daemon:redis:7",
        "containers-storage:x",
        "https://example.com/x",
        "/a/folder",
        "./folder",
    ],
)
def test_anything_else_is_refused_in_one_line_that_lists_the_forms(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        EndName.parse(text)

    assert FORMS in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_path_may_hold_whatever_a_file_system_holds() -> None:
    assert EndName.parse("oci:caf\udce9").path == "caf\udce9"
