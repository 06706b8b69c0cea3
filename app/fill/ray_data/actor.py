"""One model of many: what Ray runs on each machine."""

from typing import Any

from app.fill.asking import WINDOW_ROWS, Asker
from app.fill.found import found_fields, found_schema
from app.fill.ray_data.plan import Plan


class RowCompleter:
    """Completes batches of rows, for `ray.data.Dataset.map_batches`; one actor holds one model.

    Args:
        plan: what is asked, of which model.
        threads: CPU threads of the actor.

    """

    def __init__(self, plan: Plan, threads: int) -> None:
        # Of an error here Ray would try again, and tell no more than its text.
        self._asker: Asker | Exception
        try:
            self._asker = Asker(plan.load(threads), plan.options)
        except Exception as error:
            self._asker = error
        self._fields = (plan.options.subject_column, plan.options.relation_column)

    def __call__(self, batch: Any) -> Any:
        """The rows of a pyarrow table, with the columns `completions` and `error`.

        Raises:
            FillError: this machine has another base or other masks than the plan.
            MaskError, PlmError, StartupError: the base or a pack could not be loaded.
        """
        if isinstance(self._asker, Exception):
            raise self._asker
        # The other columns stay as they are: Python never sees them.
        asked = [name for name in self._fields if name in batch.column_names]
        records = batch.select(asked).to_pylist() if asked else [{}] * batch.num_rows
        found = [
            found_fields(completions, error)
            for window in self._asker.answer(records, WINDOW_ROWS)
            for _, completions, error in window
        ]
        schema = found_schema()
        table = type(batch).from_pylist(found, schema=schema)
        for field in schema:
            batch = batch.append_column(field, table.column(field.name))
        return batch
