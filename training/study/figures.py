"""Drawings as SVG text that can stand inside a page: self-contained, titled, with ids of their own.

matplotlib, and seaborn on it; nothing here opens a window or keeps state.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
# Words stay words in the drawing: they can be searched and read aloud.
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """The style of all figures; the same figure always gives the same text."""
    with sns.axes_style("whitegrid"), mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def svg_of(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as SVG text, with a title and a description for those who do not see it.

    `name` goes before every id, so that several drawings can stand in one page.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for child in list(root):
        # It names the program and vocabularies on the web, which no reader of a page needs.
        if child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    _own_ids(root, name)
    for tag, text in (("desc", description), ("title", title)):
        part = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        part.text = text
        root.insert(0, part)
    # The page scales it; matplotlib's size in points would not.
    root.attrib.pop("height", None)
    root.set("width", f"{figure.get_size_inches()[0]:.1f}in")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def heat_map(
    axes: Axes,
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    digits: int = 2,
    center: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> None:
    """A heat map with its numbers; NaN stays empty. `center`: colours part there."""
    sns.heatmap(
        np.asarray(values, dtype=np.float64),
        ax=axes,
        annot=True,
        fmt=f".{digits}f",
        annot_kws={"size": 7},
        cmap="viridis" if center is None else "vlag",
        center=center,
        vmin=vmin,
        vmax=vmax,
        xticklabels=list(columns),
        yticklabels=list(rows),
        linewidths=0.5,
        cbar=False,
    )
    axes.set_title(title)
    axes.tick_params(axis="x", rotation=90 if max(map(len, columns), default=0) > 4 else 0)
    axes.tick_params(axis="y", rotation=0)


def _own_ids(root: ElementTree.Element, name: str) -> None:
    for part in root.iter():
        for key, value in list(part.attrib.items()):
            if key == "id":
                part.set(key, f"{name}-{value}")
            elif key == f"{_XLINK}href":
                del part.attrib[key]
                part.set("href", value.replace("#", f"#{name}-", 1))
            elif "url(#" in value:
                part.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
        # matplotlib writes a rule for every element there is: inside a page it would be for all.
        if part.tag == f"{{{_SVG}}}style" and part.text:
            part.text = part.text.replace("*{", f"[aria-labelledby^='{name}-title'] *{{")
