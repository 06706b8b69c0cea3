"""A small pack with its documents, the same as another one, and servers to fetch it from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from masks import MaskPack, RelationMask, write_pack
from tests.masks.transfer.servers import Hub, Site, running

MakePack = Callable[..., MaskPack]


@pytest.fixture
def make_pack(
    make_mask: Callable[..., RelationMask],
    random_keep: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakePack:
    """A pack of the relations; `first` is the seed of the first one's bits."""

    def make(*relations: str, first: int = 0, name: str = "tiny") -> MaskPack:
        names = relations or ("IsA", "HasA", "PartOf")
        masks = [make_mask(n, random_keep(i)) for i, n in enumerate(names, start=first)]
        pack = write_pack(tmp_path_factory.mktemp("packs") / name, masks, name=name)
        (pack.folder / "report.md").write_text("# Report\n")
        (pack.folder / "README.md").write_text(f"# {name}\n")
        (pack.folder / "notes.txt").write_text("not of the pack\n")
        return pack

    return make


@pytest.fixture
def pack(make_pack: MakePack) -> MaskPack:
    return make_pack()


@pytest.fixture
def site(pack: MaskPack, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The files of the pack below /packs/tiny."""
    monkeypatch.setenv("NO_PROXY", "*")
    files = {f"/packs/tiny/{path.name}": path.read_bytes() for path in pack.folder.iterdir()}
    return Site(files)


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    """Where `site` has the pack."""
    with running(site.handler()) as address:
        yield f"{address}/packs/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("NO_PROXY", "*")
    return Hub()


@pytest.fixture
def hub_address(hub: Hub) -> Iterator[str]:
    with running(hub.handler()) as address:
        yield address


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a pull goes; its parent shows whether anything else was left."""
    return tmp_path / "packs" / "pulled"
