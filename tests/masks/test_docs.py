"""docs/mask-format.md: its example is true, and its ten lines read a file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masks import RelationMask, dump_mask, save_mask

DOCUMENT = Path(__file__).parents[2] / "docs" / "mask-format.md"
QUERY = "bert.encoder.layer.3.attention.self.query.weight"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_the_ten_lines_read_a_file(
    text: str,
    make_mask: Callable[..., RelationMask],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mask = make_mask()
    save_mask(mask, tmp_path / "IsA.safetensors")
    monkeypatch.chdir(tmp_path)
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["keep"].keys() == mask.shapes.keys()
    for name, matrix in names["keep"].items():
        assert matrix.dtype == np.bool_
        assert np.array_equal(matrix, mask.keep(name))


def test_the_worked_example_is_true(text: str, make_mask: Callable[..., RelationMask]) -> None:
    lines = re.findall(r"^((?:[01] +){11}) *((?:[0-9a-f]{2} ?){2})$", text, re.MULTILINE)
    keep = np.array([[bit == "1" for bit in weights.split()] for weights, _ in lines])
    mask = make_mask(
        keep={QUERY: keep},
        layers=(4, 4),
        templates=("[X] is a [Y].",),
        validation={"p_at_1": 0.25},
        settings={"lr": 3e-4},
        facts={"train": 70},
    )
    data = dump_mask(mask)
    bits = bytes.fromhex("".join(shown for _, shown in lines))
    assert keep.shape == (3, 11)
    assert data.endswith(bits)
    assert f"has {len(data)} bytes" in text
    assert f"offset 0    {data[:8].hex(' ')}" in text
    assert f"offset {len(data) - len(bits)}  {bits.hex(' ')}" in text
    assert f'"digest":"{mask.digest[:15]}...' in text
    assert f'"sparsity":"{mask.sparsity}"' in text
    checksum = re.search(rb'"checksum":"(sha256:\w{8})', data)
    assert checksum
    assert f'"checksum":"{checksum[1].decode()}...' in text
