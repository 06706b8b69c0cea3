"""How a place is written."""

from pathlib import Path

import pytest

from masks import MaskValueError
from masks.transfer import TransferError, parse_place
from masks.transfer.folder import LocalFolder
from masks.transfer.http import WebFolder
from masks.transfer.hub import HubFolder
from masks.transfer.store import StoreFolder


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "pack").mkdir(parents=True)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pack", LocalFolder(Path("pack"))),
        ("./runs/new", LocalFolder(Path("runs/new"))),
        ("/packs/a/b", LocalFolder(Path("/packs/a/b"))),
        ("../owner/name", LocalFolder(Path("../owner/name"))),
        ("runs/pack", LocalFolder(Path("runs/pack"))),
        ("file:///packs/my%20pack", LocalFolder(Path("/packs/my pack"))),
        ("C:\\packs", LocalFolder(Path("C:\\packs"))),
        ("owner/name", HubFolder("owner/name")),
        ("hf://owner/name", HubFolder("owner/name")),
        ("hf://owner/name@v1", HubFolder("owner/name", "v1")),
        ("hf://owner/name/packs/a/", HubFolder("owner/name", None, "packs/a")),
        ("hf://owner/na.me@refs%2Fpr%2F1/a", HubFolder("owner/na.me", "refs/pr/1", "a")),
        ("https://host/packs/a", WebFolder("https://host/packs/a")),
        ("https://host/a/manifest.json?x=1", WebFolder("https://host/a?x=1")),
        ("s3://bucket/packs/a", StoreFolder("s3://bucket/packs/a")),
    ],
)
def test_a_text_names_a_place(text: str, place: object) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" ", "must not be empty"),
        ("hf://owner", "must be hf://owner/name"),
        ("hf://datasets/owner/name", "of a model repository"),
        ("hf://owner/name/../other", "is no folder of a repository"),
        ("hf://../name", "must be hf://owner/name"),
        ("file://elsewhere/packs", "names the host 'elsewhere'"),
    ],
)
def test_texts_that_name_none(text: str, words: str) -> None:
    with pytest.raises(MaskValueError, match=words):
        parse_place(text)


def test_a_push_never_guesses_between_a_folder_and_the_hub() -> None:
    assert parse_place("runs/new") == HubFolder("runs/new")
    with pytest.raises(MaskValueError, match=r"write \./runs/new or hf://runs/new"):
        parse_place("runs/new", to_write=True)
    assert parse_place("owner/new", to_write=True) == HubFolder("owner/new")


def test_secrets_of_a_url_are_not_shown() -> None:
    assert str(parse_place("https://me:secret@host:8/a/?sig=secret")) == "https://host:8/a"
    assert str(parse_place("s3://key:secret@bucket/a?sig=secret")) == "s3://bucket/a"


def test_a_store_that_nobody_knows() -> None:
    with pytest.raises(TransferError, match="nostore://a/b cannot be opened"):
        list(parse_place("nostore://a/b").read("manifest.json", 10))
