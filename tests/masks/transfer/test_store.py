"""Packs in a store of fsspec: its own in-memory one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from masks import MaskPack
from masks.transfer import Offer, TransferError, parse_place, push_pack

MakePack = Callable[..., MaskPack]
URL = "memory://packs/tiny"


@pytest.fixture(autouse=True)
def store() -> Iterator[dict[str, Any]]:
    MemoryFileSystem.store.clear()
    yield MemoryFileSystem.store
    MemoryFileSystem.store.clear()


def test_a_pack_goes_to_a_store_and_comes_back(
    pack: MaskPack, target: Path, store: dict[str, Any]
) -> None:
    assert push_pack(pack.folder, parse_place(URL)).place == URL
    assert sorted(store) == [
        f"/packs/tiny/{name}"
        for name in (
            "HasA.safetensors",
            "IsA.safetensors",
            "PartOf.safetensors",
            "README.md",
            "manifest.json",
            "report.md",
        )
    ]
    assert list(store)[-1].endswith("manifest.json")
    Offer.of(parse_place(URL)).fetch(target)
    pulled = MaskPack.open(target)
    assert (pulled.manifest, pulled.verify()) == (pack.manifest, [])
    assert push_pack(pack.folder, parse_place(URL)).already_there


def test_another_pack_in_the_store_is_replaced_when_asked(
    make_pack: MakePack, store: dict[str, Any]
) -> None:
    old, new = make_pack("Causes", "IsA", first=7), make_pack()
    push_pack(old.folder, parse_place(URL))
    with pytest.raises(TransferError, match=r"holds another pack, 'tiny' .*--replace"):
        push_pack(new.folder, parse_place(URL))
    assert "/packs/tiny/HasA.safetensors" not in store
    push_pack(new.folder, parse_place(URL), replace=True)
    assert Offer.of(parse_place(URL)).manifest == new.manifest
    assert "/packs/tiny/Causes.safetensors" not in store


def test_a_pack_that_a_push_left_half_done_is_not_taken_for_whole(
    make_pack: MakePack, store: dict[str, Any]
) -> None:
    pack, other = make_pack(), make_pack(first=7)
    push_pack(pack.folder, parse_place(URL))
    MemoryFileSystem().pipe_file(f"{URL}/IsA.safetensors", other.read("IsA"))
    with pytest.raises(TransferError, match=r"not sound: .*IsA.*--replace"):
        push_pack(pack.folder, parse_place(URL))
    push_pack(pack.folder, parse_place(URL), replace=True)
    assert push_pack(pack.folder, parse_place(URL)).already_there


def test_what_is_no_pack_is_not_written_over(pack: MaskPack, store: dict[str, Any]) -> None:
    MemoryFileSystem().pipe_file(f"{URL}/manifest.json", b'{"name": "an app"}')
    with pytest.raises(TransferError, match="it is not replaced"):
        push_pack(pack.folder, parse_place(URL), replace=True)
    assert list(store) == ["/packs/tiny/manifest.json"]


def test_a_store_that_cannot_be_written(pack: MaskPack, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(TransferError, match=r"packs/tiny cannot be written \(Permission denied\)"):
        push_pack(pack.folder, parse_place(URL))


def test_an_empty_store(target: Path) -> None:
    with pytest.raises(TransferError, match=r"tiny/manifest\.json: there is no such file"):
        Offer.of(parse_place(URL)).fetch(target)
