"""Folders of masks that change while they are served, without HTTP."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import app.changes.packs
from app.changes import MaskRegister, check_distinct
from app.errors import StartupError
from masks import (
    MANIFEST_NAME,
    MaskFileError,
    MaskPack,
    RelationMask,
    add_to_pack,
    dump_mask,
    lock_pack,
    remove_from_pack,
    write_pack,
)
from plm import BaseModel

MakeMask = Callable[..., RelationMask]


@pytest.fixture
def pack(tmp_path: Path, relation_masks: Mapping[str, RelationMask]) -> Path:
    folder = tmp_path / "pack"
    write_pack(folder, [relation_masks[name] for name in ("IsA", "HasA")], name="tiny")
    return folder


@pytest.fixture
def register(base: BaseModel, pack: Path) -> MaskRegister:
    return MaskRegister.load(base, [pack])


def test_masks_are_added_replaced_and_removed(
    register: MaskRegister, pack: Path, make_mask: MakeMask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert not register.poll()
    new = make_mask("IsA", seed=5)
    add_to_pack(pack, new)
    add_to_pack(pack, make_mask("Causes"))
    remove_from_pack(pack, "HasA")
    before = register.catalogue
    assert register.poll()
    assert register.catalogue.relations == ("Causes", "IsA")
    assert register.catalogue.find("IsA").mask == new
    assert before.relations == ("HasA", "IsA")
    assert "masks changed: added Causes; replaced IsA; removed HasA" in caplog.text
    assert not register.poll()


def test_files_that_did_not_change_are_not_read_again(
    register: MaskRegister, pack: Path, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = MaskPack.read

    def reading(self: MaskPack, relation: str) -> bytes:
        read.append(relation)
        return original(self, relation)

    monkeypatch.setattr(MaskPack, "read", reading)
    kept = register.catalogue.find("HasA")
    add_to_pack(pack, make_mask("IsA", seed=5))
    register.poll()
    assert read == ["IsA"]
    assert register.catalogue.find("HasA") is kept


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[:-1], "sha256"),
        (lambda data: b"", "sha256"),
        (lambda data: None, "no such file"),
    ],
)
def test_a_damaged_file_replaces_nothing_and_is_told_once(
    register: MaskRegister,
    pack: Path,
    spoil: Callable[[bytes], bytes | None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = register.catalogue.find("IsA")
    path = pack / "IsA.safetensors"
    whole = path.read_bytes()
    spoilt = spoil(whole)
    path.unlink() if spoilt is None else path.write_bytes(spoilt)
    for _ in range(3):
        assert not register.poll()
        # Something else that changes does not hide it.
        (pack / "HasA.safetensors").touch()
    assert register.catalogue.find("IsA") is served
    (refused,) = register.catalogue.refused
    assert (refused.relation, refused.file, refused.pack) == ("IsA", "IsA.safetensors", "tiny")
    assert reason in refused.reason
    assert caplog.text.count(f"{path} is refused") == 1
    path.write_bytes(whole)
    register.poll()
    assert register.catalogue.refused == ()
    assert register.catalogue.find("IsA").mask == served.mask


def test_a_new_file_that_does_not_fit_replaces_nothing(
    register: MaskRegister, pack: Path, tmp_path: Path, make_mask: MakeMask
) -> None:
    foreign = tmp_path / "foreign"
    write_pack(foreign, [make_mask("IsA", base_digest="sha256:" + "f" * 64)], name="tiny")
    for path in foreign.iterdir():
        shutil.copy(path, pack / path.name)
    assert register.poll()
    # HasA is not listed any more; IsA is, but not for this base.
    assert register.catalogue.relations == ("IsA",)
    reasons = {file.relation: file.reason for file in register.catalogue.refused}
    assert "was made for base" in reasons["IsA"]
    assert "does not list it" in reasons[None]


@pytest.mark.parametrize("text", [None, "", "{", '{"format_version": "9"}'])
def test_a_manifest_that_is_gone_or_damaged_changes_nothing(
    register: MaskRegister, pack: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = pack / MANIFEST_NAME
    whole = path.read_bytes()
    path.unlink() if text is None else path.write_text(text)
    for _ in range(2):
        assert not register.poll()
    assert register.catalogue.relations == ("HasA", "IsA")
    (refused,) = register.catalogue.refused
    assert (refused.relation, refused.file) == (None, MANIFEST_NAME)
    assert caplog.text.count("is refused") == 1
    path.write_bytes(whole)
    register.poll()
    assert register.catalogue.refused == ()


def test_a_folder_that_is_gone_leaves_its_masks(register: MaskRegister, pack: Path) -> None:
    pack.rename(pack.with_name("elsewhere"))
    assert not register.poll()
    assert register.catalogue.relations == ("HasA", "IsA")
    assert [file.file for file in register.catalogue.refused] == [MANIFEST_NAME]
    pack.with_name("elsewhere").rename(pack)
    register.poll()
    assert register.catalogue.refused == ()


def test_a_folder_that_is_being_written_is_left_for_the_next_look(
    register: MaskRegister, pack: Path, make_mask: MakeMask, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_pack(other, [make_mask("IsA", seed=5), make_mask("HasA", seed=5)], name="tiny")
    with lock_pack(pack):
        shutil.copy(other / "IsA.safetensors", pack / "IsA.safetensors")
        assert not register.poll()
        assert register.catalogue.refused == ()
        shutil.copy(other / "HasA.safetensors", pack / "HasA.safetensors")
        shutil.copy(other / MANIFEST_NAME, pack / MANIFEST_NAME)
    assert register.poll()
    assert register.catalogue.refused == ()
    assert register.catalogue.find("IsA").mask == make_mask("IsA", seed=5)


def test_what_changes_while_it_is_read_is_read_again(
    register: MaskRegister, pack: Path, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = app.changes.packs.read_pack

    def slow(*arguments: object) -> object:
        state = original(*arguments)  # type: ignore[arg-type]
        add_to_pack(pack, make_mask("PartOf"))
        return state

    monkeypatch.setattr(app.changes.packs, "read_pack", slow)
    add_to_pack(pack, make_mask("Causes"))
    assert not register.poll()
    monkeypatch.undo()
    assert register.poll()
    assert register.catalogue.relations == ("Causes", "HasA", "IsA", "PartOf")


def test_a_change_within_one_tick_of_the_clock_is_noticed(
    register: MaskRegister, pack: Path, make_mask: MakeMask
) -> None:
    before = (pack / MANIFEST_NAME).stat()
    add_to_pack(pack, make_mask("IsA", seed=5))
    for path in pack.iterdir():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (pack / MANIFEST_NAME).stat().st_size == before.st_size
    assert register.poll()


def test_two_packs_with_one_relation_do_not_start_and_the_first_keeps_it_later(
    base: BaseModel, pack: Path, tmp_path: Path, make_mask: MakeMask
) -> None:
    second = tmp_path / "second"
    write_pack(second, [make_mask("Causes")], name="second")
    check_distinct([pack, second])
    register = MaskRegister.load(base, [pack, second])
    kept = register.catalogue.find("IsA")
    add_to_pack(second, make_mask("IsA", seed=5))
    assert not register.poll()
    assert register.catalogue.find("IsA") is kept
    (refused,) = register.catalogue.refused
    assert (refused.pack, refused.relation) == ("second", "IsA")
    assert refused.reason == "pack tiny has the relation too"
    with pytest.raises(StartupError, match="relation IsA is in two packs"):
        check_distinct([pack, second])
    remove_from_pack(pack, "IsA")
    assert register.poll()
    assert register.catalogue.find("IsA").mask == make_mask("IsA", seed=5)


def test_a_folder_that_is_no_pack_ends_the_start(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(MaskFileError, match="no mask pack"):
        check_distinct([tmp_path])
    with pytest.raises(MaskFileError, match="no mask pack"):
        MaskRegister.load(base, [tmp_path])


def test_what_the_manifest_says_must_agree_though_the_file_is_the_same(
    register: MaskRegister, pack: Path
) -> None:
    path = pack / MANIFEST_NAME
    content = json.loads(path.read_text())
    content["masks"]["IsA"]["sparsity"] = 0.5
    path.write_text(json.dumps(content))
    served = register.catalogue.find("IsA")
    register.poll()
    assert "sparsity" in register.catalogue.refused[0].reason
    assert register.catalogue.find("IsA") is served
    assert dump_mask(served.mask) == served.data
