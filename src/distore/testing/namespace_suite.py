"""NamespaceSuite: what namespaces share and what they keep apart, one test a sentence.

Subclass it and give the fixtures that it declares. A blob is the same bytes everywhere, and a
namespace sees those that it has brought, or that another lets it have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.testing.content_contract import BLOB, put
from distore.testing.namespace_content import RaceSuite, SharingSuite
from distore.testing.namespace_contract import DEFAULT, TARGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.namespace_contract import NamespaceManager, View


class NamespaceSuite(SharingSuite, RaceSuite):
    """The whole contract."""

    def test_there_is_a_default_one_and_nothing_is_made_by_looking(
        self, namespaces: NamespaceManager
    ) -> None:
        assert list(namespaces.list()) == [DEFAULT]
        assert (namespaces.labels(DEFAULT), namespaces.policy()) == ({}, "shared")
        for ask in (namespaces.labels, namespaces.delete):
            with pytest.raises(errors.NotFound, match="one"):
                ask("one")
        with pytest.raises(errors.NotFound, match="one"):
            namespaces.set_label("one", "a", "b")
        namespaces.set_policy("shared")

    def test_one_comes_into_being_with_its_first_use(
        self, on: Callable[[str], View], namespaces: NamespaceManager
    ) -> None:
        on("unused")
        put(on("blob").content, BLOB)
        on("image").images.put("docker.io/library/a:1", TARGET)
        on("lease").leases.create("work")
        with on("ingest").content.writer("r") as writer:
            writer.write(b"1")

        assert list(namespaces.list()) == ["blob", DEFAULT, "image", "ingest", "lease"]
        for name in ("blob", "image", "lease", "ingest"):
            assert namespaces.labels(name) == {}
            with pytest.raises(errors.AlreadyExists, match=name):
                namespaces.create(name)
            with pytest.raises(errors.FailedPrecondition, match=f"namespace {name}: has 1 {name};"):
                namespaces.delete(name)

    def test_one_that_was_made_stays_until_it_is_deleted(self, namespaces: NamespaceManager) -> None:
        namespaces.create("one", labels={"a": "b"})

        assert list(namespaces.list()) == [DEFAULT, "one"]
        assert namespaces.labels("one") == {"a": "b"}
        with pytest.raises(errors.AlreadyExists, match="one"):
            namespaces.create("one")
        namespaces.delete("one")
        assert list(namespaces.list()) == [DEFAULT]
        namespaces.create("one")
        assert namespaces.labels("one") == {}

    def test_the_default_one_is_neither_made_nor_deleted(self, namespaces: NamespaceManager) -> None:
        with pytest.raises(errors.AlreadyExists):
            namespaces.create(DEFAULT)
        with pytest.raises(errors.FailedPrecondition):
            namespaces.delete(DEFAULT)

    @pytest.mark.parametrize("name", ["one", DEFAULT])
    def test_labels_are_set_and_removed_one_by_one(self, namespaces: NamespaceManager, name: str) -> None:
        if name != DEFAULT:
            namespaces.create(name)

        namespaces.set_label(name, "a", "1")
        namespaces.set_label(name, "b", "2")
        namespaces.set_label(name, "a", "3")
        assert namespaces.labels(name) == {"a": "3", "b": "2"}

        namespaces.set_label(name, "b", "")
        namespaces.set_label(name, "c", "")
        assert namespaces.labels(name) == {"a": "3"}
        with pytest.raises(errors.InvalidArgument):
            namespaces.set_label(name, "a", "x" * 5000)

    def test_a_policy_is_one_of_two(self, namespaces: NamespaceManager) -> None:
        namespaces.set_policy("isolated")
        assert namespaces.policy() == "isolated"

        with pytest.raises(errors.InvalidArgument, match="shared or isolated"):
            namespaces.set_policy("private")
        assert namespaces.policy() == "isolated"

        namespaces.set_policy("shared")
        assert namespaces.policy() == "shared"

    def test_images_and_leases_are_of_one_namespace(self, on: Callable[[str], View]) -> None:
        names = ("one", "two", DEFAULT)
        for name in names:
            on(name).images.create("docker.io/library/a:1", TARGET, labels={"of": name})
            on(name).leases.create("work", labels={"of": name})

        on("two").images.delete("docker.io/library/a:1")
        on("one").leases.delete("work")

        assert [[image.labels["of"] for image in on(name).images.list()] for name in names] == [
            ["one"],
            [],
            [DEFAULT],
        ]
        assert [[lease.labels["of"] for lease in on(name).leases.list()] for name in names] == [
            [],
            ["two"],
            [DEFAULT],
        ]
