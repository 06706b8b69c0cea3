"""`relata complete`."""

import json
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from app.logs import set_up_logging
from app.schemas.completion import CompletionAnswer
from app.service import Service
from app.settings import Settings


def run(settings: Settings, query: Mapping[str, object], *, as_json: bool) -> None:
    """Answer one query without a server, as a table or as the JSON that the server would send."""
    set_up_logging("error")
    service = Service.load(settings)
    try:
        answer = service.ask_now(service.features.completion, dict(query))
    finally:
        service.close()
    console = Console(soft_wrap=True)
    if as_json or not isinstance(answer, CompletionAnswer):
        console.print(
            json.dumps(answer.model_dump(mode="json"), indent=2, ensure_ascii=False),
            markup=False,
            highlight=False,
        )
    else:
        console.print(_table(answer))


def _table(answer: CompletionAnswer) -> Table:
    masks = "unmasked" if answer.mask is None else " + ".join(answer.mask.relations)
    if answer.mask is not None and len(answer.mask.relations) > 1:
        masks += f" ({answer.mask.combine})"
    table = Table(title=f"{answer.prompt}\n{masks}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("object")
    table.add_column("probability", justify="right")
    for rank, completion in enumerate(answer.completions, start=1):
        table.add_row(str(rank), completion["object"], f"{completion['score']:.4f}")
    return table
