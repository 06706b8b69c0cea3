"""Writers of one pack wait for each other, in threads and in processes, and never for the dead."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from masks import MaskPack, RelationMask, add_to_pack, is_being_written, lock_pack, write_pack

ROOT = Path(__file__).parents[2]
MakeMask = Callable[..., RelationMask]

# Adds masks under names of its own to a pack, as fast as it can.
ADD = """
import sys
from dataclasses import replace
from masks import RelationMask, add_to_pack, load_mask
folder, mask, name = sys.argv[1], load_mask(sys.argv[2]), sys.argv[3]
sys.stdin.readline()
for number in range(int(sys.argv[4])):
    renamed = replace(mask.metadata, relation=f"{name}{number}")
    add_to_pack(folder, RelationMask(renamed, mask.packed))
"""
HOLD = """
import sys, time
from pathlib import Path
from masks import lock_pack
with lock_pack(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def pack(make_mask: MakeMask, tmp_path: Path) -> MaskPack:
    return write_pack(tmp_path / "pack", [make_mask("IsA")], name="tiny")


def test_no_entry_is_lost_when_processes_write_one_pack(pack: MaskPack) -> None:
    names = ("First", "Second", "Third", "Fourth")
    writers = [
        _start(ADD, pack.folder, pack.folder / "IsA.safetensors", name, 12) for name in names
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.wait(120) for writer in writers] == [0] * 4
    opened = MaskPack.open(pack.folder)
    assert set(opened.relations) == {"IsA"} | {f"{name}{i}" for name in names for i in range(12)}
    assert opened.verify() == []
    assert not list(pack.folder.glob(".*"))


def test_a_killed_writer_holds_nobody_up(pack: MaskPack, make_mask: MakeMask) -> None:
    holder = _start(HOLD, pack.folder)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    assert is_being_written(pack.folder)
    with (
        pytest.raises(TimeoutError, match=r"pack is being written by another process"),
        lock_pack(pack.folder, timeout=0.1),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    # Its file is still there, but nobody's.
    assert not is_being_written(pack.folder)
    assert add_to_pack(pack.folder, make_mask("HasA")).relations == ("HasA", "IsA")
    assert not list(pack.folder.glob(".*"))


def test_threads_wait_for_each_other_too(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with lock_pack(tmp_path):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    assert not is_being_written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), lock_pack(tmp_path / "gone"):
        pass
    assert not is_being_written(tmp_path / "gone")
