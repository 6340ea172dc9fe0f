"""What a layer calls the kinds of files, and their extended attributes."""

from __future__ import annotations

import stat
from typing import Final

from distore.diff.tarmember import BLOCK_DEVICE, CHARACTER, FIFO, FOLDER, REGULAR, SYMLINK

KINDS: Final = {  # by what stat.S_IFMT gives
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}
XATTR: Final = b"SCHILY.xattr."  # begins a record, as star, GNU tar and Go's archive/tar write them
