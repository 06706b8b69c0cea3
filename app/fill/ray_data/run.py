"""The job on a cluster: files to a folder of Parquet files."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.fill.errors import FillError
from app.fill.found import ERROR, found_schema
from app.fill.options import FillOptions
from app.fill.ray_data.cluster import connected, ray_module
from app.fill.ray_data.dataset import BATCH_ROWS, complete_planned
from app.fill.ray_data.plan import Plan
from app.fill.reading import parquet_module
from app.fill.run import Filled
from app.fill.writing import beside
from app.mistakes import mistake
from app.settings import Settings

if TYPE_CHECKING:
    from app.fill.ray_data.files import RowFiles

# A file of the output has as many rows, or more; the last one fewer.
_FILE_ROWS = 100_000


def fill_on_ray(
    settings: Settings,
    source: Path,
    output: Path,
    options: FillOptions,
    *,
    address: str,
    actors: int | None = None,
) -> Filled:
    """Complete every row of a file, or of a folder's files, on a Ray cluster.

    The output is a folder of Parquet files; by their names their rows are in the input's order.
    It is whole or not there: a run that is broken off begins again.

    Args:
        address: as in `ray.init`; `local` starts Ray on this machine.
        actors: models at work, of `settings.threads` processors (1) each; None for as many as
            the cluster has room for.

    Raises:
        FillError: ray is missing, a file cannot be used, or the cluster is too small.
        AppError, UnknownRelationError: the options are wrong whatever the rows are.
        MaskError, PlmError, StartupError: the base or a pack cannot be loaded.
    """
    ray, parquet = ray_module(), parquet_module()
    from app.fill.ray_data.files import RowFiles  # noqa: PLC0415 - needs pyarrow

    part = beside(output)
    _check_output(output, part)
    files = RowFiles.at(source)
    plan = Plan.of(settings, options, files.schema.names, source.name)
    threads = settings.threads or 1
    here = actors or max(1, (os.cpu_count() or 1) // threads)
    with connected(ray, address, cpus=here * threads + 1):
        pool = _pool(ray, actors, threads=threads, gpus=plan.gpus)
        part.mkdir()
        try:
            _write(ray, files, plan, part, pool=pool, threads=threads)
            filled = _count(parquet, part, files.schema)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            if (told := _told(error)) is not None:
                raise told from error
            raise
        part.replace(output)
    return filled


def _check_output(output: Path, part: Path) -> None:
    if output.exists():
        raise FillError(f"{str(output)!r} is there already; delete it, or name another output")
    if output.suffix:
        raise FillError(f"{output.name!r} will be a folder of Parquet files; name it without a dot")
    if not output.parent.is_dir():
        raise FillError(f"there is no folder {str(output.parent)!r} to write to")
    if part.exists():
        raise FillError(
            f"{str(part)!r} is there: another run writes to it, or was killed; delete it"
        )


def _pool(ray: Any, actors: int | None, *, threads: int, gpus: int) -> int:
    """How many actors there will be; a processor is left to reading and writing."""
    has = ray.cluster_resources()
    most = (int(has.get("CPU", 0)) - 1) // threads
    if gpus:
        most = min(most, int(has.get("GPU", 0)) // gpus)
    if (actors or 1) > most:
        raise FillError(
            f"the cluster has {has.get('CPU', 0):g} processors and {has.get('GPU', 0):g} GPUs; "
            f"{actors or 1} actors of {threads} processors and {gpus} GPUs, and a processor to "
            "read and write, do not fit: say a lower --ray-actors or --threads"
        )
    return actors or most


def _write(ray: Any, files: "RowFiles", plan: Plan, part: Path, *, pool: int, threads: int) -> None:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    # Ray's own error would keep the text alone.
    context.raise_original_map_exception = True
    # Elsewhere than on a terminal Ray would write lines of progress every few seconds.
    context.enable_progress_bars = sys.stderr.isatty()
    completed = complete_planned(
        files.read(ray), plan, concurrency=pool, batch_size=BATCH_ROWS, num_cpus=threads
    )
    completed.write_parquet(str(part.absolute()), min_rows_per_file=_FILE_ROWS)


def _count(parquet: Any, part: Path, schema: Any) -> Filled:
    """What was written, by what the files say of themselves; of no rows, a file without any."""
    rows = refused = 0
    paths = sorted(part.glob("*.parquet"))
    for path in paths:
        error = parquet.read_table(path, columns=[ERROR]).column(ERROR)
        rows, refused = rows + len(error), refused + len(error) - error.null_count
    if not paths:
        import pyarrow as arrow  # noqa: PLC0415 - an optional dependency

        whole = arrow.schema([*schema, *found_schema()])
        parquet.write_table(whole.empty_table(), part / "0.parquet")
    return Filled(rows, refused, resumed=0)


def _told(error: BaseException | None) -> Exception | None:
    """The error of ours that an error of Ray's comes from, if it does."""
    while error is not None:
        if isinstance(error, Exception) and not _of_ray(error) and mistake(error) is not None:
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _of_ray(error: Exception) -> bool:
    """Whether Ray made the class: it mixes the class of what was raised into its own."""
    return type(error).__module__.partition(".")[0] == "ray" or hasattr(error, "cause")
