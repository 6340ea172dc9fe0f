"""Id maps: owners in the system for those of a layer, within ACLs and capabilities too."""

from __future__ import annotations

import os
import struct
import tarfile
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import lay, layer, member, with_records
from tests.unit.diff.applied_uppers import lay_upper

from distore.diff.entry import ApplyOptions
from distore.diff.idmap import IdMap, mapped_acl, mapped_capability
from distore.errors import FailedPrecondition, InvalidArgument

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
IDS = IdMap.parse("0:100000:1000,65534:200000:1")
CAPABILITY = b"\x01\0\0\x02" + b"\0\x20\0\0" + bytes(12)


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL = acl(
    (1, 6, 0xFFFFFFFF), (2, 4, 7), (4, 4, 0xFFFFFFFF), (8, 4, 8), (16, 4, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)
)


def test_ids_are_found_in_their_range() -> None:
    assert [IDS.host(number) for number in (0, 999, 1000, 65534)] == [100000, 100999, None, 200000]
    assert str(IDS) == "0:100000:1000,65534:200000:1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "want CONTAINER:HOST:SIZE"),
        ("0:1", "want CONTAINER:HOST:SIZE"),
        ("0:-1:5", "want CONTAINER:HOST:SIZE"),
        ("0:1:0", "no ids from '0:1:0'"),
        ("0:4294967290:10", "no ids from"),
        ("9" * 5000 + ":0:1", "no ids from"),
        ("0:100:10,5:200:1", "id 5 twice"),
        ("0:100:10,20:105:1", "id 105 twice"),
        (",".join(f"{n}:{n}:1" for n in range(341)), "over 340 ranges"),
    ],
)
def test_what_is_no_id_map_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        IdMap.parse(text)


def test_owners_in_acls_and_capabilities_are_mapped() -> None:
    def shift(number: int) -> int:
        return number + 100000

    assert mapped_acl(ACL, shift, shift) == acl(
        (1, 6, 0xFFFFFFFF),
        (2, 4, 100007),
        (4, 4, 0xFFFFFFFF),
        (8, 4, 100008),
        (16, 4, 0xFFFFFFFF),
        (32, 4, 0xFFFFFFFF),
    )
    assert mapped_capability(CAPABILITY, shift) == b"\x01\0\0\x03" + CAPABILITY[4:] + struct.pack(
        "<I", 100000
    )
    assert mapped_capability(CAPABILITY, lambda number: number) == CAPABILITY
    assert mapped_capability(b"strange", shift) == mapped_acl(b"strange", shift, shift) == b"strange"


@root_only
@pytest.mark.parametrize("upper", [False, True], ids=["apply", "apply_upper"])
def test_a_layer_belongs_to_the_ids_of_the_map(tmp_path: Path, upper: bool) -> None:
    data = layer(
        with_records(
            member("d/f", uid=7, gid=65534, mode=0o4755),
            {b"SCHILY.xattr.security.capability": CAPABILITY, b"SCHILY.xattr.system.posix_acl_access": ACL},
        ),
        member("l", tarfile.SYMTYPE, "f", uid=8, gid=9),
    )

    put(tmp_path, data, upper=upper)

    def owner(name: str) -> tuple[int, int]:
        info = (tmp_path / name).lstat()
        return info.st_uid, info.st_gid

    assert [owner(name) for name in ("d", "d/f", "l")] == [
        (100000, 100000),
        (100007, 200000),
        (100008, 100009),
    ]
    assert os.getxattr(tmp_path / "d/f", "security.capability")[20:] == struct.pack("<I", 100000)
    assert struct.pack("<HHI", 2, 4, 100007) in os.getxattr(tmp_path / "d/f", "system.posix_acl_access")


@root_only
@pytest.mark.parametrize("upper", [False, True], ids=["apply", "apply_upper"])
@pytest.mark.parametrize(
    ("owner", "says"), [((5000, 0), "user id 5000"), ((0, 65533), "group id 65533")], ids=["user", "group"]
)
def test_an_id_outside_of_the_map_is_one_clear_error(
    tmp_path: Path, upper: bool, owner: tuple[int, int], says: str
) -> None:
    data = layer(member("d/f", uid=owner[0], gid=owner[1]), member("other"))

    with pytest.raises(FailedPrecondition, match=rf"layer: 'd/f': {says} is not in the id map 0:100000"):
        put(tmp_path, data, upper=upper)


def put(folder: Path, data: bytes, *, upper: bool) -> None:
    if upper:
        lay_upper(folder, data, [], ApplyOptions(as_root=True, uid_map=IDS, gid_map=IDS))
    else:
        lay(folder, data, uid_map=IDS, gid_map=IDS)
