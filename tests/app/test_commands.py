"""The command line, as a user runs it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from masks import MaskPack, RelationMask, write_pack

Run = Callable[..., Any]
MakeMask = Callable[..., RelationMask]


def test_complete_as_a_table(run_relata: Run, base_folder: Path, pack_folder: Path) -> None:
    result = run_relata(
        "complete", "linen", "IsA,MadeOf", "--combine", "intersection", "--top-k", "3",
        "--base", str(base_folder), "--packs", str(pack_folder),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for word in ("rank", "object", "probability", "A linen is a [MASK].", "(intersection)"):
        assert word in result.stdout
    assert result.stdout.count("│ 0.") + result.stdout.count(" 0.") >= 3


def test_complete_as_json_is_what_the_server_sends(
    run_relata: Run, client: httpx.Client, base_folder: Path, pack_folder: Path
) -> None:
    result = run_relata(
        "complete", "linen", "IsA", "--unmasked", "--template", "The [X] is a [Y].", "--json",
        environment={"RELATA_BASE": str(base_folder), "RELATA_PACKS": str(pack_folder)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    query = {
        "subject": "linen", "relation": "IsA", "masked": False, "template": "The [X] is a [Y].",
    }  # fmt: skip
    sent = client.post("/complete", json=query).json()
    assert {**printed, "completions": None} == {**sent, "completions": None}
    for one, other in zip(printed["completions"], sent["completions"], strict=True):
        assert one["object"] == other["object"]
        assert one["log_prob"] == pytest.approx(other["log_prob"], abs=1e-4)


def test_a_mistake_is_one_line_and_exit_code_2(
    run_relata: Run, base_folder: Path, pack_folder: Path
) -> None:
    result = run_relata(
        "complete", "linen", "Isa", "--base", str(base_folder), "--packs", str(pack_folder)
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "did you mean 'IsA'?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["serve", "--port", "eighty"], {}, "RELATA_PORT is 'eighty'"),
        (["serve"], {"RELATA_DTYPE": "int3"}, "RELATA_DTYPE is 'int3'"),
        (["masks", "list", "--pack", "/nowhere"], {}, "there is no such folder"),
        (["masks", "list"], {"RELATA_PACKS": "/nowhere"}, "there is no such folder"),
    ],
)
def test_mistakes_that_need_no_model(
    run_relata: Run, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    result = run_relata(*arguments, environment=environment)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_base_that_is_not_there_ends_the_server(run_relata: Run, pack_folder: Path) -> None:
    result = run_relata("serve", "--port", "0", "--base", "./nowhere", "--packs", str(pack_folder))
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("relata: there is no folder './nowhere'")
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_told(
    run_relata: Run, server: Any, base_folder: Path, pack_folder: Path
) -> None:
    port = str(httpx.URL(server.url).port)
    result = run_relata(
        "serve", "--port", port, "--base", str(base_folder), "--packs", str(pack_folder)
    )
    assert result.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in result.stderr


def test_masks_are_listed_and_shown(run_relata: Run, pack_folder: Path) -> None:
    listed = run_relata("masks", "list", "--pack", str(pack_folder))
    assert listed.returncode == 0, listed.stderr
    assert "UsedFor" in listed.stdout
    shown = run_relata("masks", "show", "IsA", "--pack", str(pack_folder))
    assert shown.returncode == 0, shown.stderr
    assert "A [X] is a [Y]." in shown.stdout
    assert "deterministic" in shown.stdout
    missing = run_relata("masks", "show", "isa", "--pack", str(pack_folder))
    assert missing.returncode == 2
    assert "did you mean 'IsA'?" in missing.stderr


def test_verify_exits_with_1_on_problems(
    run_relata: Run, pack_folder: Path, tmp_path: Path
) -> None:
    sound = run_relata("masks", "verify", "--pack", str(pack_folder))
    assert sound.returncode == 0
    assert "16 masks, sound" in sound.stdout
    broken = shutil.copytree(pack_folder, tmp_path / "broken")
    (broken / "IsA.safetensors").write_bytes(b"nothing")
    result = run_relata("masks", "verify", "--pack", str(broken))
    assert result.returncode == 1
    assert "IsA.safetensors" in result.stdout
    assert "1 problem" in result.stdout


@pytest.fixture
def soft_pack(make_mask: MakeMask, make_expectation: MakeMask, tmp_path: Path) -> MaskPack:
    """IsA has 8 bits a weight, UsedFor one."""
    return write_pack(
        tmp_path / "soft", [make_expectation("IsA"), make_mask("UsedFor")], name="soft"
    )


def test_an_expectation_is_shown_and_cut(
    run_relata: Run, soft_pack: MaskPack, make_mask: MakeMask, tmp_path: Path
) -> None:
    mask = soft_pack.load("IsA")
    soft, hard = str(soft_pack.folder), tmp_path / "hard"
    listed = run_relata("masks", "list", "--pack", soft).stdout
    bits = {
        line.split("│")[1].strip(): line.split("│")[4].strip()
        for line in listed.splitlines()
        if line.startswith("│")
    }
    assert bits == {"IsA": "8", "UsedFor": "1"}
    assert "bits a weight │ 8" in run_relata("masks", "show", "IsA", "--pack", soft).stdout
    verified = run_relata("masks", "verify", "--pack", soft)
    assert "2 masks, 1 of them of 8 bits a weight, sound" in verified.stdout

    cut = run_relata("masks", "threshold", soft, "IsA", "--at", "0.25", "--out", str(hard))
    assert cut.returncode == 0, cut.stderr
    assert "IsA: 1 bit a weight" in cut.stdout
    assert MaskPack.open(hard).load("IsA") == mask.at_threshold(0.25)
    # Into a pack that is there it is added, or takes the place of the relation's own mask.
    write_pack(hard, [make_mask("MadeOf"), make_mask("IsA")], name="hard")
    assert run_relata("masks", "threshold", soft, "IsA", "--out", str(hard)).returncode == 0
    assert MaskPack.open(hard).load("IsA") == mask.at_threshold(0.5)
    assert MaskPack.open(hard).relations == ("IsA", "MadeOf")


@pytest.mark.parametrize(
    ("relation", "arguments", "words"),
    [
        ("IsA", ["--at", "1.5", "--out", "hard"], "the threshold must be from 0 to 1, not 1.5"),
        ("IsA", ["--out", "soft"], "soft holds the mask that is cut"),
        ("IsA", ["--out", "soft/../soft"], "soft holds the mask that is cut"),
        ("isA", ["--out", "hard"], "did you mean 'IsA'?"),
        ("UsedFor", ["--out", "hard"], "UsedFor has one bit a weight already"),
    ],
)
def test_what_cannot_be_cut_leaves_nothing(
    run_relata: Run, soft_pack: MaskPack, relation: str, arguments: list[str], words: str
) -> None:
    *others, out = arguments
    folder = soft_pack.folder.parent
    result = run_relata(
        "masks", "threshold", str(soft_pack.folder), relation, *others, str(folder / out)
    )
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "hard").exists()
    assert MaskPack.open(soft_pack.folder).verify() == []


def test_the_version_is_told(run_relata: Run) -> None:
    result = run_relata("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("relata ")


def test_masks_need_neither_torch_nor_the_web(pack_folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, relata; sys.argv = ['relata', 'masks', 'verify', '--pack', sys.argv[1]]\n"
        "try: relata.main()\n"
        "except SystemExit: pass\n"
        "print(*(name for name in ('torch', 'transformers', 'fastapi') if name in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(pack_folder)],
        cwd=Path(relata_file()).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == ""


def relata_file() -> str:
    import relata

    return str(relata.__file__)
