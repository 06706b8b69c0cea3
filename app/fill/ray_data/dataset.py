"""Completions for a dataset of Ray Data."""

from typing import TYPE_CHECKING

from app.fill.asking import WINDOW_ROWS
from app.fill.options import FillOptions
from app.fill.ray_data.actor import RowCompleter
from app.fill.ray_data.plan import Plan
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from ray.data import Dataset

# Two windows, so that the second is prepared while the model works on the first.
BATCH_ROWS = 2 * WINDOW_ROWS


def complete_dataset(
    dataset: "Dataset",
    options: FillOptions | None = None,
    *,
    settings: Settings | None = None,
    concurrency: int | tuple[int, int] = 1,
    batch_size: int = BATCH_ROWS,
    num_cpus: int | None = None,
    num_gpus: float | None = None,
) -> "Dataset":
    """A dataset with the columns `completions` and `error` beside its own, as in `relata fill`.

    Nothing runs before the result is asked for, but that the job is checked here, on one model
    that is loaded for it. Rows keep their order where Ray does (`preserve_order`).

    Args:
        options: what is asked of every row (default: its columns `subject` and `relation`).
        settings: base, packs, device and so on (default: those of the environment).
        concurrency: actors, or the fewest and the most; each holds a model.
        batch_size: rows that an actor gets at a time.
        num_cpus: of an actor, and the threads of its passes (default: `settings.threads`, or 1).
        num_gpus: of an actor (default: 1 if the settings' device is cuda, else none).

    Raises:
        FillError: a column is missing, or is one that the result would add.
        AppError, UnknownRelationError: the options are wrong whatever the rows are.
        MaskError, PlmError, StartupError: the base or a pack cannot be loaded.
    """
    settings, options = settings or load_settings(), options or FillOptions()
    schema = dataset.schema()
    columns = None if schema is None else schema.names
    return complete_planned(
        dataset,
        Plan.of(settings, options, columns, "the dataset"),
        concurrency=concurrency,
        batch_size=batch_size,
        num_cpus=num_cpus or settings.threads or 1,
        num_gpus=num_gpus,
    )


def complete_planned(
    dataset: "Dataset",
    plan: Plan,
    *,
    concurrency: int | tuple[int, int],
    batch_size: int,
    num_cpus: int,
    num_gpus: float | None = None,
) -> "Dataset":
    """`complete_dataset` where the job has been checked."""
    from ray.data import ActorPoolStrategy  # noqa: PLC0415 - an optional dependency

    fewest, most = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency
    # What was read from one file may be one block, which a single actor would get whole.
    return dataset.repartition(target_num_rows_per_block=batch_size).map_batches(
        RowCompleter,
        fn_constructor_kwargs={"plan": plan, "threads": num_cpus},
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=fewest, max_size=most),
        num_cpus=num_cpus,
        num_gpus=plan.gpus if num_gpus is None else num_gpus,
    )
