"""Packs on the hub, which a local server stands for; its client is the real one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from masks import MaskPack
from masks.transfer import FileMissingError, Offer, TransferError, parse_place, push_pack
from masks.transfer.hub import HubFolder
from tests.masks.transfer.servers import Hub

MakePack = Callable[..., MaskPack]
Place = Callable[..., HubFolder]


@pytest.fixture
def place(hub_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place on the hub, as `parse_place` reads it, with a cache of its own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "cache"),
                        raising=False)  # fmt: skip

    def make(text: str, token: str | bool = False, **options: bool) -> HubFolder:
        read = parse_place(text, **options)
        assert isinstance(read, HubFolder)
        return replace(read, api=HfApi(endpoint=hub_address, token=token))

    return make


def files_of(pack: MaskPack) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pack.folder.iterdir()}


def test_a_pack_from_the_hub(hub: Hub, place: Place, pack: MaskPack, target: Path) -> None:
    hub.commit("owner/tiny", {"config.json": b"{}", **files_of(pack)})
    Offer.of(place("hf://owner/tiny")).fetch(target)
    pulled = MaskPack.open(target)
    assert (pulled.manifest, pulled.verify()) == (pack.manifest, [])
    assert {path.name for path in target.iterdir()} == {*files_of(pack)} - {"notes.txt"}


def test_a_revision_and_a_folder(hub: Hub, place: Place, make_pack: MakePack, target: Path) -> None:
    old, new = make_pack("IsA", first=7), make_pack()
    commit = hub.commit("owner/packs", {f"a/b/{n}": d for n, d in files_of(old).items()})
    hub.commit("owner/packs", {f"a/b/{n}": d for n, d in files_of(new).items()})
    assert Offer.of(place("hf://owner/packs/a/b")).manifest == new.manifest
    Offer.of(place(f"hf://owner/packs@{commit}/a/b")).fetch(target)
    assert MaskPack.open(target).manifest == old.manifest


def test_all_files_are_of_the_commit_that_the_manifest_is_of(
    hub: Hub, place: Place, make_pack: MakePack, target: Path
) -> None:
    first, second = make_pack(), make_pack(first=7)
    hub.commit("owner/tiny", files_of(first))
    offer = Offer.of(place("owner/tiny"))
    hub.commit("owner/tiny", files_of(second))
    offer.fetch(target)
    assert MaskPack.open(target).digest == first.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hf://owner/none", "the hub has no such model repository"),
        ("hf://owner/model@v9", "there is no such revision"),
        ("hf://owner/model", r"owner/model/manifest\.json: there is no such file"),
    ],
)
def test_what_the_hub_does_not_have(
    hub: Hub, place: Place, target: Path, text: str, words: str
) -> None:
    hub.commit("owner/model", {"config.json": b"{}"})
    with pytest.raises(FileMissingError, match=words):
        Offer.of(place(text)).fetch(target)
    assert not target.exists()


def test_a_file_that_is_too_long_is_not_downloaded(
    hub: Hub, place: Place, pack: MaskPack, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("owner/tiny", files_of(pack))
    monkeypatch.setattr("masks.transfer.offer.MASK_LIMIT", 100)
    with pytest.raises(TransferError, match="more than 100 bytes"):
        Offer.of(place("owner/tiny")).fetch(target)
    assert not target.exists()


def test_a_push_makes_the_repository_and_one_commit(
    hub: Hub, place: Place, pack: MaskPack, target: Path
) -> None:
    hub.token = "hf_secret"
    to = place("hf://owner/tiny", token="hf_secret", to_write=True, private=True)
    delivery = push_pack(pack.folder, to)
    assert hub.private == {"owner/tiny": True}
    assert len(hub.repositories["owner/tiny"]) == 2  # the one that it is made with, and ours
    commit, files = hub.repositories["owner/tiny"][-1]
    sent = {name: data for name, data in files.items() if name != ".gitattributes"}
    assert sent == {n: d for n, d in files_of(pack).items() if n != "notes.txt"}
    assert delivery.place == f"hf://owner/tiny@{commit}"
    Offer.of(place(delivery.place, token="hf_secret")).fetch(target)
    assert MaskPack.open(target).manifest == pack.manifest
    again = push_pack(pack.folder, place("hf://owner/tiny", token="hf_secret"))
    assert again.already_there
    assert again.place == delivery.place


def test_a_push_over_another_pack_removes_what_that_one_named_alone(
    hub: Hub, place: Place, make_pack: MakePack
) -> None:
    old, new = make_pack("Causes", "IsA", first=7), make_pack()
    model = {"model.safetensors": b"weights", "config.json": b"{}"}
    hub.commit("owner/tiny", {**model, **{f"packs/{n}": d for n, d in files_of(old).items()}})
    with pytest.raises(TransferError, match="holds another pack"):
        push_pack(new.folder, place("hf://owner/tiny/packs"))
    push_pack(new.folder, place("hf://owner/tiny/packs"), replace=True)
    files = hub.files("owner/tiny")
    assert "packs/Causes.safetensors" not in files
    assert files.items() >= model.items()
    assert files["packs/manifest.json"] == (new.folder / "manifest.json").read_bytes()


def test_a_push_without_rights(hub: Hub, place: Place, pack: MaskPack) -> None:
    hub.token = "hf_secret"
    with pytest.raises(TransferError, match=r"nothing was sent to hf://owner/tiny"):
        push_pack(pack.folder, place("owner/tiny"))
    assert hub.repositories == {}


def test_without_a_network(place: Place, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = HubFolder("owner/tiny", api=HfApi(endpoint="http://127.0.0.1:9", token=False))
    with pytest.raises(TransferError, match="hf://owner/tiny cannot be had"):
        Offer.of(away)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TransferError, match="HF_HUB_OFFLINE is set"):
        Offer.of(away)
