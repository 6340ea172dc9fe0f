"""Which manifests of an index are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore.errors import NotFound
from distore.images.select import ALL, Selection, platforms_of
from distore.oci import mediatypes
from distore.oci.manifest import Index
from distore.oci.platform import Platform

if TYPE_CHECKING:
    from tests.unit.images.conftest import Library

    from distore.oci.descriptor import Descriptor


def of(selection: Selection, *children: Descriptor) -> list[Descriptor]:
    index = Index(media_type=mediatypes.OCI_INDEX, manifests=children)
    return list(selection.of(index, subject="index it"))


def want(*names: str, attestations: bool = False) -> Selection:
    return Selection(platforms=tuple(Platform.parse(name) for name in names), attestations=attestations)


def about(library: Library, child: Descriptor, name: str = "attestation") -> Descriptor:
    """What buildkit puts beside an image."""
    return library.manifest(
        name,
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": child.digest,
        },
        platform="unknown/unknown" if name != "attestation" else None,
    )


def test_without_a_choice_everything_is_wanted(library: Library) -> None:
    arm = library.manifest("arm", platform="linux/arm64")
    children = [arm, about(library, arm), library.manifest("none")]

    assert of(ALL, *children) == children


def test_the_best_for_each_platform_is_wanted_in_the_order_of_the_index(library: Library) -> None:
    intel = library.manifest("intel", platform="linux/amd64")
    newer = library.manifest("newer", platform="linux/amd64/v3")
    old = library.manifest("old", platform="linux/386")
    arm = library.manifest("arm", platform="linux/arm64")

    assert of(want("linux/arm64", "linux/amd64"), old, newer, intel, arm) == [intel, arm]
    assert of(want("linux/amd64/v4"), old, intel, newer) == [newer]
    assert of(want("linux/amd64"), arm, old) == [old]


def test_the_first_of_equals_is_wanted(library: Library) -> None:
    first = library.manifest("first", platform="linux/amd64")
    second = library.manifest("second", platform="linux/amd64")

    assert of(want("linux/amd64"), first, second) == [first]


def test_one_image_may_do_for_two_platforms(library: Library) -> None:
    arm = library.manifest("arm", platform="linux/arm/v6")

    assert of(want("linux/arm/v7", "linux/arm/v6"), arm) == [arm]


@pytest.mark.parametrize("wanted", [False, True])
def test_attestations_come_only_when_asked_for_and_only_of_what_is_wanted(
    library: Library, wanted: bool
) -> None:
    arm = library.manifest("arm", platform="linux/arm64")
    intel = library.manifest("intel", platform="linux/amd64")
    of_arm, of_intel = about(library, arm, "of-arm"), about(library, intel, "of-intel")

    chosen = of(want("linux/arm64", attestations=wanted), intel, of_intel, arm, of_arm)

    assert chosen == ([arm, of_arm] if wanted else [arm])


def test_an_attestation_is_never_the_image(library: Library) -> None:
    intel = library.manifest("intel", platform="linux/amd64")
    odd = library.manifest(
        "odd", platform="linux/arm64", annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )

    with pytest.raises(NotFound, match=r"it has linux/amd64$"):
        of(want("linux/arm64"), odd, intel)


def test_a_single_image_that_does_not_say_where_it_runs_is_taken(library: Library) -> None:
    alone = library.manifest("alone")

    assert of(want("linux/arm64"), alone, about(library, alone)) == [alone]


def test_a_platform_that_is_not_there_names_those_that_are(library: Library) -> None:
    names = ("linux/amd64", "linux/arm/v7", "windows/amd64")
    children = [library.manifest(name, platform=name) for name in names]

    with pytest.raises(NotFound) as caught:
        of(want("linux/s390x"), *children, children[0])

    assert str(caught.value) == (
        "index it: has nothing for linux/s390x; it has linux/amd64, linux/arm/v7, windows/amd64"
    )


def test_an_index_without_platforms_says_so(library: Library) -> None:
    with pytest.raises(NotFound, match=r"it has none that it tells$"):
        of(want("linux/arm64"), library.manifest("a"), library.manifest("b"))
    with pytest.raises(NotFound, match=r"it has none that it tells$"):
        of(want("linux/arm64"))


def test_platforms_are_told_once_and_without_attestations(library: Library) -> None:
    arm = library.manifest("arm", platform="linux/arm64")
    again = library.manifest("again", platform="linux/arm64")

    assert platforms_of([arm, again, about(library, arm, "x")]) == ["linux/arm64"]
