"""Packs from a web server, honest and other."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from masks import MaskFileError, MaskPack
from masks.transfer import Offer, TransferError, parse_place, push_pack
from tests.masks.transfer.servers import Site

MASK = "/packs/tiny/IsA.safetensors"
MANIFEST = "/packs/tiny/manifest.json"


def pull(url: str, target: Path) -> None:
    Offer.of(parse_place(url)).fetch(target)


def nothing_left(target: Path) -> bool:
    return not target.parent.exists() or not any(target.parent.iterdir())


def test_a_pack_from_a_url(pack: MaskPack, site: Site, url: str, target: Path) -> None:
    pull(f"{url}/?token=abc", target)
    pulled = MaskPack.open(target)
    assert pulled.verify() == []
    assert pulled.manifest == pack.manifest
    # What the manifest names and the documents: nothing is guessed, and a query goes with each.
    assert site.asked == [
        f"/packs/tiny/{name}?token=abc"
        for name in (
            "manifest.json",
            "HasA.safetensors",
            "IsA.safetensors",
            "PartOf.safetensors",
            "report.md",
            "report.json",
            "README.md",
        )
    ]
    assert sorted(path.name for path in target.glob("*.*")) == [
        "HasA.safetensors", "IsA.safetensors", "PartOf.safetensors",
        "README.md", "manifest.json", "report.md",
    ]  # fmt: skip


def test_documents_that_a_store_does_not_show_are_left_out(
    site: Site, url: str, target: Path
) -> None:
    site.statuses["/packs/tiny/README.md"] = 403
    pull(url, target)
    assert not (target / "README.md").exists()


def truncate(site: Site) -> None:
    """The connection ends before the announced length."""
    site.claims[MASK] = len(site.files[MASK])
    site.files[MASK] = site.files[MASK][:-20]


def cut(site: Site) -> None:
    """The file itself is short, and the server says so."""
    site.files[MASK] = site.files[MASK][:-3]


def lengthen(site: Site) -> None:
    site.files[MASK] += b"\0"


def swap(site: Site) -> None:
    """Another mask, sound in itself."""
    site.files[MASK] = site.files["/packs/tiny/HasA.safetensors"]


def flip(site: Site) -> None:
    data = bytearray(site.files[MASK])
    data[-1] ^= 1
    site.files[MASK] = bytes(data)


def no_mask(site: Site) -> None:
    site.files[MASK] = struct.pack("<Q", 4) + b"<ht>" + b"ml"


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (truncate, (TransferError, "cannot be had")),
        (cut, (MaskFileError, "it is truncated: .* bytes came")),
        (lengthen, (TransferError, "which is the most it may")),
        (swap, (MaskFileError, "its sha256 is .*, but the manifest says")),
        (flip, (MaskFileError, "its sha256 is .*, but the manifest says")),
        (no_mask, (MaskFileError, "it is not a safetensors file")),
        (lambda s: s.files.pop(MASK), (TransferError, "the server answers 404")),
        (lambda s: s.statuses.update({MASK: 500}), (TransferError, "the server answers 500")),
    ],
)
def test_a_mask_that_is_not_as_it_should_be_leaves_nothing(
    site: Site,
    url: str,
    target: Path,
    spoil: Callable[[Site], object],
    refusal: tuple[type[Exception], str],
) -> None:
    spoil(site)
    with pytest.raises(refusal[0], match=refusal[1]) as caught:
        pull(url, target)
    assert f"{url}/IsA.safetensors" in str(caught.value)
    assert nothing_left(target)


def test_a_stream_without_end_is_stopped(
    site: Site, url: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its header announces more than may come, so that only the limit can stop it.
    site.files[MASK] = struct.pack("<Q", 2**40) + b"{" + b" " * 300_000
    monkeypatch.setattr("masks.transfer.offer.MASK_LIMIT", 200_000)
    with pytest.raises(TransferError, match="more than 200,000 bytes"):
        pull(url, target)
    assert nothing_left(target)


def edit(site: Site, change: Callable[[dict], object]) -> None:
    content = json.loads(site.files[MANIFEST])
    change(content)
    site.files[MANIFEST] = json.dumps(content).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format_version="9"), "format_version is '9', but this reader knows"),
        (
            lambda c: c["masks"]["IsA"].update(file="../../IsA.safetensors"),
            r"must be 'IsA.safetensors', not '\.\./\.\./IsA",
        ),
        (
            lambda c: c["masks"].update({"../IsA": c["masks"].pop("IsA")}),
            r"'\.\./IsA' is not a name",
        ),
        (
            lambda c: c["masks"].update({"/etc/IsA": c["masks"].pop("IsA")}),
            "'/etc/IsA' is not a name",
        ),
        (lambda c: c.pop("base_digest"), "lacks 'base_digest'"),
    ],
)
def test_a_manifest_that_is_refused(
    site: Site, url: str, target: Path, change: Callable[[dict], object], words: str
) -> None:
    edit(site, change)
    with pytest.raises(MaskFileError, match=words) as caught:
        pull(url, target)
    assert str(caught.value).startswith(f"{url}/manifest.json: ")
    assert len(site.asked) == 1
    assert nothing_left(target)


def test_a_page_is_no_pack(site: Site, url: str, target: Path) -> None:
    site.files[MANIFEST] = b"<!doctype html><p>Welcome</p>"
    with pytest.raises(MaskFileError, match="not valid JSON"):
        pull(url, target)
    with pytest.raises(TransferError, match=r"nowhere/manifest\.json: the server answers 404"):
        pull(f"{url}/nowhere", target)


def test_a_manifest_with_another_digest_of_a_mask(site: Site, url: str, target: Path) -> None:
    edit(site, lambda c: c["masks"]["IsA"].update(digest="sha256:" + "00" * 32))
    with pytest.raises(MaskFileError, match=r"its digest is .*, but the manifest says"):
        pull(url, target)
    assert nothing_left(target)


def test_a_server_that_is_not_there(target: Path) -> None:
    with pytest.raises(TransferError, match="cannot be had"):
        pull("http://127.0.0.1:9/packs", target)
    with pytest.raises(TransferError, match="cannot be had"):
        pull("http://host:port/packs", target)


def test_nothing_is_sent_over_http(pack: MaskPack, url: str) -> None:
    with pytest.raises(TransferError, match="can only be read; push to"):
        push_pack(pack.folder, parse_place(url))
