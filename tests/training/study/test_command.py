"""`relata study`: one page that needs nothing beside itself, and its JSON."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

import relata
from masks import write_pack
from training.data import DataError, save_split
from training.study.studied import Studied

from .conftest import MakeMask


class Page(HTMLParser):
    """What a page has: ids, headings, images, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.references += [v for n, v in attrs if n in ("href", "src", "xlink:href") and v]
        self.images += tag == "svg"
        if tag == "svg":
            assert found["role"] == "img"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(relata.app, ["study", *map(str, arguments)])


@pytest.fixture
def packs(studied: Studied, make_mask: MakeMask, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two packs of the relations, and their split."""
    write_pack(tmp_path / "first", list(studied.masks.values()), name="first")
    again = [make_mask(name, seed=7) for name in ("A", "B")]
    write_pack(tmp_path / "second", again, name="second")
    save_split(studied.split, tmp_path / "split.jsonl")
    return tmp_path / "first", tmp_path / "second", tmp_path / "split.jsonl"


def test_two_packs_become_one_page(
    packs: tuple[Path, Path, Path], base_folder: Path, tmp_path: Path
) -> None:
    first, second, split = packs
    out = tmp_path / "study"
    done = run(
        *("--pack", first, "--pack", second, "--split", split, "--base", base_folder, "--out", out),
    )
    assert done.exit_code == 0, done.output
    text = (out / "study.html").read_text()
    page = Page()
    page.feed(text)
    studies = {"overlap", "ablation", "seeds", "embedding", "attention"}
    assert studies | {"provenance"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.images >= len(studies)
    # Nothing is fetched, and every reference within the page leads somewhere.
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert "url(http" not in text
    assert "@import" not in text
    for part in text.split("<svg ")[1:]:
        drawing = ElementTree.fromstring("<svg " + part.split("</svg>")[0] + "</svg>")
        title = drawing.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.text
    record = json.loads((out / "study.json").read_text())
    assert set(record["studies"]) == studies
    assert [pack["name"] for pack in record["packs"]] == ["first", "second"]
    assert record["provenance"]["split_digest"] in text
    mrr = record["studies"]["ablation"]["rows"][0]["mrr"]["estimate"]
    assert f"{mrr:.3f} [" in text


def test_what_has_nothing_to_work_on_is_left_out_with_the_reason(
    packs: tuple[Path, Path, Path], base_folder: Path, tmp_path: Path
) -> None:
    first, _, split = packs
    done = run(
        *("--pack", first, "--split", split, "--base", base_folder, "--out", tmp_path / "study"),
        *("--only", "overlap,seeds", "--relation", "A"),
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert set(record["studies"]) == {"overlap"}
    assert record["studies"]["overlap"]["relations"] == ["A"]
    assert "there is one pack" in record["left_out"]["seeds"]
    assert "there is one pack" in (tmp_path / "study" / "study.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "magic"], "no study 'magic'; there are overlap, ablation"),
        (["--relation", "Nothing"], "has no Nothing; its relations are A, B"),
        (["--data", "facts.tsv"], "give either --split"),
    ],
)
def test_mistakes_are_told(
    packs: tuple[Path, Path, Path],
    base_folder: Path,
    tmp_path: Path,
    arguments: list[str],
    told: str,
) -> None:
    first, _, split = packs
    done = run(
        *("--pack", first, "--split", split, "--base", base_folder, "--out", tmp_path / "study"),
        *arguments,
    )
    assert isinstance(done.exception, DataError)
    assert told in str(done.exception)
    assert not (tmp_path / "study").exists()


def test_without_its_packages_it_says_how_to_get_them(
    packs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "training.study.commands.find_spec", lambda name: None if name == "seaborn" else sys
    )
    done = run("--pack", packs[0], "--split", packs[2], "--out", tmp_path / "study")
    assert isinstance(done.exception, DataError)
    assert "the study needs seaborn; install them with: pip install 'relata[study]'" in str(
        done.exception
    )
