"""Results on their way into the page of benchmarks."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import benchmarks.run
from benchmarks.run import BENCHMARKS, PAGE, put

TEXT = "# Page\n\nby hand\n\n<!-- begin one -->\n\nold\n\n<!-- end one -->\n\nmore\n"


def test_a_part_is_replaced_and_the_text_around_it_is_kept() -> None:
    new = put(TEXT, "one", "## A title\n\n| a | b |\n\n*origin \\1*\n")
    assert new == TEXT.replace("old", "| a | b |\n\n*origin \\1*")
    assert put(new, "one", "old") == TEXT


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="0 parts <!-- begin two -->"):
        put(TEXT, "two", "new")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_a_module_and_a_part_of_the_page(name: str) -> None:
    module, _ = BENCHMARKS[name]
    assert (Path(benchmarks.run.__file__).parent / f"{module}.py").is_file()
    assert put(PAGE.read_text(), name, "new") != PAGE.read_text()
    assert (
        f"`python -m benchmarks.{module}`" in (PAGE.parents[1] / "benchmarks/README.md").read_text()
    )


def test_an_unknown_benchmark(tmp_path: Path) -> None:
    app = benchmarks.run.typer.Typer()
    app.command()(benchmarks.run.main)
    done = CliRunner().invoke(app, ["--only", "speed", "--page", str(tmp_path / "page.md")])
    assert done.exit_code == 2
    assert "speed is none of serve_one" in done.output.replace("\n", " ")


def test_options_without_the_one_benchmark_that_they_are_for(tmp_path: Path) -> None:
    app = benchmarks.run.typer.Typer()
    app.command()(benchmarks.run.main)
    page = str(tmp_path / "page.md")
    done = CliRunner().invoke(app, ["--options", "--rounds 1", "--page", page])
    assert done.exit_code == 2
    assert "--options go with one --only" in done.output
