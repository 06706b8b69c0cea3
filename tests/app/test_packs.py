"""`relata pack`, as a user runs it."""

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from masks import MaskPack, RelationMask, write_pack
from tests.masks.transfer.servers import Hub, running

Run = Callable[..., Any]


@pytest.fixture
def digest(pack_folder: Path) -> str:
    return MaskPack.open(pack_folder).digest


@pytest.fixture
def url(pack_folder: Path) -> Iterator[str]:
    """The pack on a plain file server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with running(functools.partial(Quiet, directory=str(pack_folder.parent))) as address:
        yield f"{address}/{pack_folder.name}"


def test_a_pack_goes_to_a_folder_and_is_fetched_from_there(
    run_relata: Run, pack_folder: Path, digest: str, tmp_path: Path
) -> None:
    shared, mine = tmp_path / "shared", tmp_path / "mine"
    pushed = run_relata("pack", "push", str(pack_folder), str(shared))
    assert (pushed.returncode, pushed.stderr) == (0, "")
    assert pushed.stdout.splitlines() == [
        "tiny: 16 masks for tiny, done",
        f"digest {digest}",
        f"place  {shared}",
    ]
    pulled = run_relata("pack", "pull", str(shared), str(mine), "--expect", digest)
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert f"digest {digest}" in pulled.stdout
    again = run_relata("pack", "pull", str(shared), str(mine))
    assert (again.returncode, again.stdout.splitlines()[0]) == (
        0,
        "tiny: 16 masks for tiny, already there",
    )
    verified = run_relata("masks", "verify", "--pack", str(mine))
    assert "16 masks, sound" in verified.stdout


def test_some_relations_from_a_url_for_the_base_that_one_has(
    run_relata: Run, url: str, digest: str, base_folder: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    pulled = run_relata(
        "pack", "pull", url, str(mine), "--relation", "IsA", "--relation", "HasA",
        "--base", str(base_folder), "--expect", digest, environment={"NO_PROXY": "*"},
    )  # fmt: skip
    assert pulled.returncode == 0, pulled.stderr
    pack = MaskPack.open(mine)
    assert pack.relations == ("HasA", "IsA")
    assert f"digest {pack.digest} (of these relations; the whole pack: {digest})" in pulled.stdout


def test_a_pack_for_another_base_is_refused(
    run_relata: Run, make_mask: Callable[..., RelationMask], base_folder: Path, tmp_path: Path
) -> None:
    other = make_mask("IsA", base_digest="sha256:" + "0" * 64)
    write_pack(tmp_path / "theirs", [other], name="theirs")
    mine = tmp_path / "mine"
    refused = run_relata(
        "pack", "pull", str(tmp_path / "theirs"), str(mine), "--base", str(base_folder)
    )
    assert refused.returncode == 2
    assert f"the pack is for base tiny (sha256:{'0' * 64})" in refused.stderr
    assert not mine.exists()


@pytest.mark.parametrize("command", ["push", "pull"])
def test_help_says_how_a_place_is_written(run_relata: Run, command: str) -> None:
    result = run_relata("pack", command, "--help")
    assert result.returncode == 0, result.stderr
    assert "hf://owner/name" in result.stdout


def test_a_pack_goes_to_the_hub_and_back(
    run_relata: Run, pack_folder: Path, digest: str, tmp_path: Path
) -> None:
    hub = Hub(token="hf_secret")
    with running(hub.handler()) as address:
        environment = {
            "HF_ENDPOINT": address,
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_secret",
            "HF_HOME": str(tmp_path / "home"),
            "NO_PROXY": "*",
        }
        pushed = run_relata(
            "pack", "push", str(pack_folder), "hf://owner/tiny", "--private",
            environment=environment,
        )  # fmt: skip
        assert pushed.returncode == 0, pushed.stderr
        assert hub.private == {"owner/tiny": True}
        place = pushed.stdout.splitlines()[-1].removeprefix("place  ")
        assert place.startswith("hf://owner/tiny@")
        pulled = run_relata(
            "pack", "pull", place, str(tmp_path / "mine"), "--expect", digest,
            environment=environment,
        )  # fmt: skip
        assert pulled.returncode == 0, pulled.stderr
    assert MaskPack.open(tmp_path / "mine").verify() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pull", "{pack}", "{out}", "--relation", "isa"], "did you mean 'IsA'?"),
        (["pull", "{pack}", "{out}", "--expect", "sha256:00"], "64 lower-case hexadecimal"),
        (["pull", "{pack}", "{out}", "--expect", "sha256:" + "0" * 64], "was expected"),
        (["pull", "{pack}", "{out}", "--base", "./nowhere"], "there is no folder './nowhere'"),
        (["pull", "./nowhere", "{out}"], "there is no such folder"),
        (["pull", "hf://owner", "{out}"], "must be hf://owner/name"),
        (["pull", "owner/name", "{out}"], "HF_HUB_OFFLINE is set"),
        (["push", "./nowhere", "{out}"], "there is no such folder"),
        (["push", "{pack}", "http://127.0.0.1:9/pack"], "can only be read"),
        (["push", "{pack}", "masks/pack"], "write ./masks/pack or hf://masks/pack"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    run_relata: Run, pack_folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    out = tmp_path / "out"
    filled = [text.format(pack=pack_folder, out=out) for text in arguments]
    result = run_relata("pack", *filled)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_folders_need_neither_torch_nor_the_network(pack_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, relata\n"
        "sys.argv = ['relata', 'pack', 'push', *sys.argv[1:]]\n"
        "try:\n    relata.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "names = ('torch', 'transformers', 'fastapi', 'httpx', 'huggingface_hub', 'fsspec')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(pack_folder), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
