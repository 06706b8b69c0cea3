"""Packs from folder to folder: what is taken along, what is refused, what stays."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from masks import (
    MaskFileError,
    MaskMismatchError,
    MaskPack,
    MaskValueError,
    UnknownRelationError,
    lock_pack,
)
from masks.transfer import Offer, TransferError, parse_place, push_pack
from masks.transfer import staging as staging_module
from masks.transfer.folder import LocalFolder

MakePack = Callable[..., MaskPack]

PACK_FILES = [
    "HasA.safetensors", "IsA.safetensors", "PartOf.safetensors",
    "README.md", "manifest.json", "report.md",
]  # fmt: skip


def offer_of(pack: MaskPack) -> Offer:
    return Offer.of(LocalFolder(pack.folder))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_pulled_pack_is_the_same_files(pack: MaskPack, target: Path) -> None:
    delivery = offer_of(pack).fetch(target)
    assert (delivery.place, delivery.already_there) == (str(target), False)
    assert names(target) == PACK_FILES
    for name in PACK_FILES:
        assert (target / name).read_bytes() == (pack.folder / name).read_bytes()
    assert names(target.parent) == ["pulled"]
    assert MaskPack.open(target).verify() == []


def test_only_some_relations(pack: MaskPack, target: Path) -> None:
    offer_of(pack).only(["IsA", "HasA", "IsA"]).fetch(target)
    pulled = MaskPack.open(target)
    assert pulled.relations == ("HasA", "IsA")
    assert pulled.verify() == []
    assert pulled.digest != pack.digest
    with pytest.raises(UnknownRelationError, match="did you mean 'IsA'"):
        offer_of(pack).only(["isa"])


def test_the_digest_and_the_base_are_held_against_what_is_expected(pack: MaskPack) -> None:
    offer = offer_of(pack)
    offer.check_digest(pack.digest)
    offer.check_base("tiny", pack.base_digest)
    other = "sha256:" + "00" * 32
    with pytest.raises(MaskMismatchError, match=f"{pack.digest}, but {other} was expected"):
        offer.check_digest(other)
    with pytest.raises(MaskMismatchError, match=f"for base relata/tiny .* but mine is {other}"):
        offer.check_base("mine", other)
    with pytest.raises(MaskValueError, match="64 lower-case"):
        offer.check_digest("sha256:abc")


def test_a_folder_that_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="there is no such folder"):
        Offer.of(LocalFolder(tmp_path / "nowhere"))
    with pytest.raises(TransferError, match=r"manifest\.json: there is no such file"):
        Offer.of(LocalFolder(tmp_path))


def test_the_same_pack_is_there_already(pack: MaskPack, target: Path) -> None:
    offer_of(pack).fetch(target)
    before = target.stat().st_ino
    assert offer_of(pack).fetch(target).already_there
    assert target.stat().st_ino == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: (t / "IsA.safetensors").write_bytes(b"x"), "this pack, but not sound: .*IsA"),
        (lambda t: (t / "manifest.json").unlink(), "holds no pack"),
        (lambda t: rename_pack(t, "other"), "the same masks, but described otherwise"),
        (lambda t: drop_relation(t, "IsA"), "holds another pack, 'tiny'"),
    ],
)
def test_anything_else_in_the_target_is_refused(
    pack: MaskPack, target: Path, spoil: Callable[[Path], object], words: str
) -> None:
    shutil.copytree(pack.folder, target)
    spoil(target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with pytest.raises(TransferError, match=words):
        offer_of(pack).fetch(target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert names(target.parent) == ["pulled"]


def rename_pack(folder: Path, name: str) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(content | {"name": name}))


def drop_relation(folder: Path, relation: str) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    del content["masks"][relation]
    (folder / "manifest.json").write_text(json.dumps(content))


def test_another_pack_is_replaced_when_asked(make_pack: MakePack, target: Path) -> None:
    old, new = make_pack("IsA", "Causes", first=7), make_pack()
    offer_of(old).fetch(target)
    with pytest.raises(TransferError, match="--replace"):
        offer_of(new).fetch(target)
    offer_of(new).fetch(target, replace=True)
    assert names(target) == PACK_FILES
    assert MaskPack.open(target).digest == new.digest
    assert names(target.parent) == ["pulled"]


def test_a_link_to_a_folder_stays_a_link(make_pack: MakePack, target: Path, tmp_path: Path) -> None:
    offer_of(make_pack("IsA", first=7)).fetch(target)
    link = tmp_path / "link"
    link.symlink_to(target)
    new = make_pack()
    offer_of(new).fetch(link, replace=True)
    assert link.is_symlink()
    assert MaskPack.open(target).digest == new.digest


def test_files_that_are_of_no_pack_are_never_replaced(
    make_pack: MakePack, target: Path, tmp_path: Path
) -> None:
    new = make_pack()
    shutil.copytree(make_pack("IsA", first=7).folder, target)
    with pytest.raises(TransferError, match=r"'notes\.txt', which is of no pack"):
        offer_of(new).fetch(target, replace=True)
    assert "notes.txt" in names(target)
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("all of it")
    with pytest.raises(TransferError, match="holds no pack"):
        offer_of(new).fetch(thesis, replace=True)
    assert names(thesis) == ["chapter.tex"]
    with pytest.raises(TransferError, match="is no folder"):
        offer_of(new).fetch(thesis / "chapter.tex", replace=True)


def test_an_empty_folder_is_a_free_place(pack: MaskPack, target: Path) -> None:
    target.mkdir(parents=True)
    offer_of(pack).fetch(target)
    assert names(target) == PACK_FILES


def test_a_damaged_mask_leaves_nothing(pack: MaskPack, target: Path) -> None:
    path = pack.folder / "PartOf.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MaskFileError, match=r"tiny/PartOf\.safetensors: its sha256 is"):
        offer_of(pack).fetch(target)
    assert names(target.parent) == []


def test_a_pull_that_is_interrupted_leaves_nothing(
    pack: MaskPack, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = offer_of(pack)
    real = LocalFolder.read

    def read(self: LocalFolder, name: str, limit: int) -> object:
        if name == "IsA.safetensors":
            assert len(names(target.parent)) == 1
            raise KeyboardInterrupt
        return real(self, name, limit)

    monkeypatch.setattr(LocalFolder, "read", read)
    with pytest.raises(KeyboardInterrupt):
        offer.fetch(target)
    assert names(target.parent) == []


def test_the_old_pack_stays_where_the_new_one_cannot_take_its_place(
    make_pack: MakePack, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_pack("IsA", first=7), make_pack()
    offer_of(old).fetch(target)
    real = Path.rename

    def rename(self: Path, to: Path) -> Path:
        if to == target and self.name.endswith(".tmp"):
            raise PermissionError(13, "Permission denied")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(TransferError, match=r"cannot be written \(Permission denied\)"):
        offer_of(new).fetch(target, replace=True)
    assert MaskPack.open(target).digest == old.digest
    assert MaskPack.open(target).verify() == []
    assert names(target.parent) == ["pulled"]


def test_a_pack_that_is_being_written_is_not_replaced(
    make_pack: MakePack, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_pack("IsA", first=7), make_pack()
    offer_of(old).fetch(target)
    monkeypatch.setattr(staging_module, "_LOCK_SECONDS", 0.05)
    with lock_pack(target), pytest.raises(TransferError, match="being written by another"):
        offer_of(new).fetch(target, replace=True)
    assert MaskPack.open(target).digest == old.digest


def test_a_push_is_verified_first(pack: MaskPack, target: Path) -> None:
    shutil.copy(pack.folder / "IsA.safetensors", pack.folder / "Old.safetensors")
    (pack.folder / "HasA.safetensors").unlink()
    with pytest.raises(TransferError, match=r"nothing was sent.*HasA.*Old.*does not list it"):
        push_pack(pack.folder, LocalFolder(target))
    assert not target.parent.exists()


def test_a_push_to_a_folder(make_pack: MakePack, target: Path) -> None:
    pack = make_pack()
    assert push_pack(pack.folder, LocalFolder(target)).place == str(target)
    assert names(target) == PACK_FILES
    assert push_pack(pack.folder, LocalFolder(target)).already_there
    other = make_pack("IsA", first=7)
    with pytest.raises(TransferError, match="holds another pack"):
        push_pack(other.folder, parse_place(str(target)))
    push_pack(other.folder, parse_place(target.as_uri()), replace=True)
    assert MaskPack.open(target).digest == other.digest
