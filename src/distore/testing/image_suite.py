"""ImageSuite: the contract of images/image.py, one test a sentence.

Subclass it and give the fixtures that it declares. Nothing in the suite knows how images are kept.
"""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.images.image import Image
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from distore.images.image import ImageStore

NAME = "docker.io/library/redis:latest"
ONE = Descriptor(
    media_type=mediatypes.OCI_INDEX, digest=Digest.of(b"one"), size=3, annotations={"org.example/a": "1"}
)
TWO = Descriptor(media_type=mediatypes.DOCKER_MANIFEST, digest=Digest.of(b"twelve"), size=6)
MANY = 10_000
WORKERS = 8
EACH = 20  # images of one worker
FLAT = 4 * 1024 * 1024  # bytes that a listing of MANY images may need


class ImageClock:
    """Seconds since the epoch that pass when told."""

    def __init__(self) -> None:
        self.now = 1_767_323_045.125

    def __call__(self) -> float:
        return self.now

    def moment(self) -> datetime:
        """Now."""
        return datetime.fromtimestamp(self.now, UTC)


class ImageSuite:
    """The whole contract."""

    @pytest.fixture
    def clock(self) -> ImageClock:
        """What the store has as its clock."""
        return ImageClock()

    @pytest.fixture
    def images(self, clock: ImageClock) -> ImageStore:
        """An empty store of the namespace ``default``."""
        raise NotImplementedError

    @pytest.fixture
    def on(self) -> Callable[[str], ImageStore]:
        """A new handle on the same store as a namespace sees it, as another process has."""
        raise NotImplementedError

    @pytest.fixture
    def fill(self) -> Callable[[int], None]:
        """Put so many images, quickly: ``r.example/app:N`` with the labels a, b and ``n`` = N, N of five
        digits."""
        raise NotImplementedError

    @pytest.fixture
    def worker(self) -> Callable[[int], Popen[bytes]]:
        """Start a process that puts TWO as ``r.example/worker-N:0`` up to EACH, and under NAME each time."""
        raise NotImplementedError

    def test_a_new_image_has_what_it_was_made_with(self, images: ImageStore, clock: ImageClock) -> None:
        made = images.create(NAME, ONE, labels={"b": "2", "a": "1", "empty": ""})

        assert (made.name, made.target, made.labels) == (NAME, ONE, {"a": "1", "b": "2"})
        assert list(made.labels) == ["a", "b"]
        assert made.target.annotations == ONE.annotations
        assert made.created == made.updated == clock.moment()
        assert images.get(NAME) == made
        assert list(images.list()) == [made]

    def test_a_name_that_is_taken_is_not_given_again(self, images: ImageStore) -> None:
        made = images.create(NAME, ONE, labels={"a": "1"})

        with pytest.raises(errors.AlreadyExists, match=f"image {NAME}: exists already") as caught:
            images.create(NAME, TWO)

        assert caught.value.subject == NAME
        assert images.get(NAME) == made

    def test_a_name_moves_and_keeps_its_labels_and_the_time_it_was_made(
        self, images: ImageStore, clock: ImageClock
    ) -> None:
        made = images.create(NAME, ONE, labels={"a": "1"})
        clock.now += 60

        moved = images.put(NAME, TWO)

        assert (moved.target, moved.target.annotations, moved.labels) == (TWO, {}, {"a": "1"})
        assert (moved.created, moved.updated) == (made.created, clock.moment())
        assert list(images.list()) == [moved]

    def test_putting_makes_an_image_too(self, images: ImageStore, clock: ImageClock) -> None:
        put = images.put(NAME, ONE)

        assert (put.target, put.labels, put.created, put.updated) == (ONE, {}, clock.moment(), clock.moment())

    def test_what_is_not_there_is_not_found_and_nothing_is_made(self, images: ImageStore) -> None:
        nobody = Image(name=NAME, target=ONE, created=datetime.now(UTC), updated=datetime.now(UTC))

        for ask in (lambda: images.get(NAME), lambda: images.delete(NAME), lambda: images.update(nobody)):
            with pytest.raises(errors.NotFound, match=f"image {NAME}: not in the store"):
                ask()
        assert list(images.list()) == []
        assert list(images.list("name==x")) == []

    def test_a_name_that_is_deleted_is_gone_with_its_labels(self, images: ImageStore) -> None:
        images.create(NAME, ONE, labels={"a": "1"})

        images.delete(NAME)

        assert list(images.list()) == []
        with pytest.raises(errors.NotFound):
            images.delete(NAME)
        assert images.create(NAME, TWO).labels == {}

    @pytest.mark.parametrize(
        ("paths", "target", "labels"),
        [
            ((), TWO, {"b": "new", "c": "new"}),
            (("target", "labels"), TWO, {"b": "new", "c": "new"}),
            (("target",), TWO, {"a": "1", "b": "2"}),
            (("labels",), ONE, {"b": "new", "c": "new"}),
            (("labels.c",), ONE, {"a": "1", "b": "2", "c": "new"}),
            (("labels.a",), ONE, {"b": "2"}),
            (("labels.d.e/f",), ONE, {"a": "1", "b": "2"}),
            (("labels.a", "labels.b", "target"), TWO, {"b": "new"}),
        ],
    )
    def test_field_paths_say_what_is_changed(
        self,
        images: ImageStore,
        clock: ImageClock,
        paths: tuple[str, ...],
        target: Descriptor,
        labels: dict[str, str],
    ) -> None:
        made = images.create(NAME, ONE, labels={"a": "1", "b": "2"})
        clock.now += 60
        wanted = Image(
            name=NAME,
            target=TWO,
            created=made.created,
            updated=made.updated,
            labels={"b": "new", "c": "new", "d.e/f": ""},
        )

        changed = images.update(wanted, *paths)

        assert (changed.target, changed.labels) == (target, labels)
        assert changed.target.annotations == target.annotations
        assert (changed.created, changed.updated) == (made.created, clock.moment())
        assert images.get(NAME) == changed

    def test_annotations_are_changed_alone(self, images: ImageStore) -> None:
        made = images.create(NAME, ONE, labels={"a": "1"})
        annotated = Descriptor(
            media_type=TWO.media_type, digest=TWO.digest, size=6, annotations={"b": "2", "c": "3"}
        )

        changed = images.update(
            Image(name=NAME, target=annotated, created=made.created, updated=made.updated), "annotations"
        )

        assert (changed.target.digest, changed.labels) == (ONE.digest, {"a": "1"})
        assert images.get(NAME).target.annotations == {"b": "2", "c": "3"}

    @pytest.mark.parametrize("path", ["name", "created", "labels.", "target.digest", "label", ""])
    def test_another_field_path_is_refused_and_nothing_changed(self, images: ImageStore, path: str) -> None:
        made = images.create(NAME, ONE, labels={"a": "1"})

        with pytest.raises(errors.InvalidArgument, match="field path"):
            images.update(
                Image(name=NAME, target=TWO, created=made.created, updated=made.updated), "target", path
            )

        assert images.get(NAME) == made

    @pytest.mark.parametrize(("key", "value"), [("k", "x" * 4096), ("k" * 4097, ""), ("k", "€" * 1366)])
    def test_a_label_over_4096_bytes_is_refused_and_nothing_changed(
        self, images: ImageStore, key: str, value: str
    ) -> None:
        made = images.create(NAME, ONE, labels={"k": "x" * 4095})
        wanted = Image(
            name=NAME, target=TWO, created=made.created, updated=made.updated, labels={"a": "1", key: value}
        )

        if value:
            with pytest.raises(errors.InvalidArgument, match="the limit is 4096"):
                images.update(wanted)
        with pytest.raises(errors.InvalidArgument, match="the limit is 4096"):
            images.create("docker.io/library/other:1", ONE, labels={"a": "1", key: value})

        assert list(images.list()) == [made]

    @pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "\ud800", "x" * 4097])
    def test_a_bad_name_is_refused(self, images: ImageStore, name: str) -> None:
        for give in (images.put, images.create):
            with pytest.raises(errors.InvalidArgument, match="want a printable name"):
                give(name, ONE)

        assert list(images.list()) == []

    def test_any_other_name_comes_back_as_it_was(self, images: ImageStore) -> None:
        large = Descriptor(media_type="a/b", digest=Digest.of(b""), size=2**63 - 1)
        names = sorted(["x'; DROP TABLE images; --", "Ünïcode 漢字", "%_\\", "x" * 4096])

        for name in names:
            images.put(name, large)

        assert [(image.name, image.target) for image in images.list()] == [(name, large) for name in names]

    def test_images_are_listed_by_name(self, images: ImageStore) -> None:
        for name in ("c/c:1", "a/a:2", "b/b:1", "a/a:1"):
            images.create(name, ONE, labels={"of": name, "z": "1"})

        assert [(image.name, image.labels["of"]) for image in images.list()] == [
            (name, name) for name in ("a/a:1", "a/a:2", "b/b:1", "c/c:1")
        ]

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            (("name==r/a:1",), "a"),
            (("name~=/^r.b/",), "b"),
            ((f"target.digest=={ONE.digest}",), "ab"),
            ((f"target.mediatype=={TWO.media_type}",), "c"),
            (("labels.team",), "ab"),
            (("labels.team==web",), "a"),
            (('labels."x.y/z"==1',), "b"),
            (("labels.x.y",), ""),
            (('annotations."org.example/a"==1',), "ab"),
            (("annotations.none",), ""),
            (("labels.team==web", "labels.team==data"), "ab"),
            (("labels.team,name==r/b:1",), "b"),
            (("",), "abc"),
            (("nonsense",), ""),
            (("nonsense!=x",), "abc"),
        ],
    )
    def test_filters_choose_among_them(
        self, images: ImageStore, filters: tuple[str, ...], names: str
    ) -> None:
        images.create("r/a:1", ONE, labels={"team": "web"})
        images.create("r/b:1", ONE, labels={"team": "data", "x.y/z": "1"})
        images.create("r/c:1", TWO)

        assert [image.name for image in images.list(*filters)] == [f"r/{name}:1" for name in names]

    def test_a_filter_that_does_not_parse_is_refused_at_once(self, images: ImageStore) -> None:
        with pytest.raises(errors.InvalidArgument, match="filter 'name=': position 5"):
            images.list("name==a", "name=")

    def test_another_process_sees_them(self, images: ImageStore, on: Callable[[str], ImageStore]) -> None:
        made = images.create(NAME, ONE, labels={"a": "1"})

        assert on("default").get(NAME) == made

    def test_namespaces_are_apart(self, images: ImageStore, on: Callable[[str], ImageStore]) -> None:
        team = on("team")
        mine = images.create(NAME, ONE, labels={"a": "1"})

        with pytest.raises(errors.NotFound):
            team.get(NAME)
        theirs = team.create(NAME, TWO, labels={"a": "2"})
        team.put("docker.io/library/other:1", ONE)
        images.update(mine, "labels.a")

        assert [image.name for image in images.list()] == [NAME]
        assert team.get(NAME) == theirs
        team.delete(NAME)
        assert images.get(NAME).target == ONE
        assert [image.name for image in team.list()] == ["docker.io/library/other:1"]

    def test_a_listing_goes_on_while_images_come_and_go(self, images: ImageStore) -> None:
        for number in range(5):
            images.create(f"r.example/app:{number}", ONE, labels={"n": str(number)})

        listing = images.list()
        first = next(listing)
        images.delete("r.example/app:4")
        images.put("r.example/app:9", TWO)
        rest = [image.name for image in listing]

        assert [first.name, *rest] == [f"r.example/app:{number}" for number in range(5)]

    @pytest.mark.slow
    def test_a_long_listing_needs_little_memory(
        self, images: ImageStore, fill: Callable[[int], None]
    ) -> None:
        fill(MANY)
        next(images.list())  # what is loaded once

        tracemalloc.start()
        try:
            count, labels = 0, 0
            for image in images.list("labels.a"):
                count, labels = count + 1, labels + len(image.labels)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert (count, labels) == (MANY, 3 * MANY)
        assert peak < FLAT
        assert [image.labels["n"] for image in images.list("name==r.example/app:04321")] == ["04321"]

    @pytest.mark.slow
    def test_processes_that_put_at_once_lose_nothing(
        self, images: ImageStore, worker: Callable[[int], Popen[bytes]]
    ) -> None:
        images.create(NAME, ONE, labels={"a": "1"})

        processes = [worker(number) for number in range(WORKERS)]
        codes = [process.wait(timeout=60) for process in processes]

        assert codes == [0] * WORKERS
        assert [image.name for image in images.list("name~=/worker/")] == sorted(
            f"r.example/worker-{worker}:{number}" for worker in range(WORKERS) for number in range(EACH)
        )
        assert (images.get(NAME).target, images.get(NAME).labels) == (TWO, {"a": "1"})
