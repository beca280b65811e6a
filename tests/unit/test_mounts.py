"""Which folders lie on a file system that other machines write to."""

from pathlib import Path

import pytest

from trapline.store.mounts import Mount, network_mount

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
nas:/export /mnt/nas nfs4 rw 0 0
//nas/share /mnt/two\\040words cifs rw 0 0
/dev/sdb1 /mnt/nas/local xfs rw 0 0
/dev/sdc1 /mnt/stick fuseblk rw 0 0
host /mnt/host 9p rw 0 0
me@there: /srv/data/incoming/st7 fuse.sshfs rw 0 0
nas:/old /mnt/over nfs rw 0 0
tmpfs /mnt/over tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/mnt/nas/buckets/traps", Mount("/mnt/nas", "nfs4")),
        ("/mnt/two words/traps", Mount("/mnt/two words", "cifs")),
        ("/mnt/host", Mount("/mnt/host", "9p")),
        ("/srv/data", Mount("/srv/data/incoming/st7", "fuse.sshfs")),
        ("/mnt/nas/local/traps", None),
        ("/mnt/nasal/traps", None),
        ("/mnt/stick/traps", None),
        ("/mnt/over/traps", None),
        ("/data/traps", None),
    ],
)
def test_a_folder_on_a_network_file_system_is_known(tmp_path: Path, folder: str, expected: Mount | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert network_mount(Path(folder), mounts) == expected


def test_where_nobody_tells_of_mounts_none_is_known(tmp_path: Path) -> None:
    assert network_mount(Path("/mnt"), tmp_path / "none") is None
