"""`relata fill`."""

import logging
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.fill import Filled, FillOptions, FillProgress, fill
from app.logs import set_up_logging
from app.service import Service
from app.settings import Settings


def run(
    settings: Settings, source: Path, output: Path, options: FillOptions, *, restart: bool
) -> None:
    """Complete every row of a file, and say how it goes and what came of it."""
    set_up_logging("error")
    console = Console(stderr=True)
    service = Service.load(settings)
    bar = Progress(
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    started = perf_counter()
    try:
        with bar:
            task = bar.add_task("filling", total=1.0, rows=0)

            def show(progress: FillProgress) -> None:
                bar.update(task, completed=progress.share, rows=progress.rows)

            filled = fill(service, source, output, options, restart=restart, report=show)
    except KeyboardInterrupt:
        console.print("broken off; the same command goes on from here")
        raise
    finally:
        service.close()
    _tell(console, output, filled, perf_counter() - started)


def run_on_ray(
    settings: Settings,
    source: Path,
    output: Path,
    options: FillOptions,
    *,
    address: str,
    actors: int | None,
) -> None:
    """Complete every row of files on a Ray cluster, and say what came of it."""
    from app.fill.ray_data import fill_on_ray, ray_module  # noqa: PLC0415 - few runs need it

    set_up_logging("error")
    # It sets its own level when it is imported.
    ray_module()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    started = perf_counter()
    filled = fill_on_ray(settings, source, output, options, address=address, actors=actors)
    _tell(Console(stderr=True), output, filled, perf_counter() - started)


def _tell(console: Console, output: Path, filled: Filled, seconds: float) -> None:
    made = filled.rows - filled.resumed
    console.print(
        f"{output}: {filled.rows:,} rows, {made:,} of them now in {seconds:.1f} s "
        f"({made / seconds:,.0f} a second)",
        highlight=False,
    )
    if filled.refused:
        console.print(f"{filled.refused:,} of them could not be asked; `error` says why")
