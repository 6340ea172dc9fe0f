"""The error tree: one exit status a class, every class documented."""

from __future__ import annotations

from collections.abc import Iterator

from distore import errors


def tree(root: type[errors.DistoreError]) -> Iterator[type[errors.DistoreError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_class_has_an_exit_status_of_its_own() -> None:
    statuses = [kind.exit_code for kind in tree(errors.DistoreError)]

    assert len(statuses) == len(set(statuses))
    # 126 and more belong to the shell; at 255 xargs stops.
    assert all(0 < status < 126 for status in statuses)


def test_every_class_stands_in_the_drawn_tree() -> None:
    drawn = errors.__doc__ or ""

    for kind in tree(errors.DistoreError):
        assert kind.__name__ in drawn
        assert kind.__doc__


def test_a_mismatch_names_ref_promise_and_finding() -> None:
    error = errors.DigestMismatch(ref="r", expected="sha256:a", actual="sha256:b")

    assert str(error) == "ingest 'r': expected sha256:a, got sha256:b"
    assert (error.ref, error.expected, error.actual) == ("r", "sha256:a", "sha256:b")
