"""What an actor is made from: checked once, good on any machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.fill.checking import check_job, model_identity
from app.fill.errors import FillError
from app.fill.found import check_free
from app.fill.options import FillOptions
from app.service import Service
from app.settings import Settings, shipped_pack
from plm import embedded_bases


@dataclass(frozen=True)
class Plan:
    """What every actor of a job is made from; it can be pickled.

    Attributes:
        settings: by their names; without secrets, and with paths that do not depend on a folder.
        options: what is asked of every row.
        model: digests of the base and the masks, which those of an actor's machine must match.
        gpus: that an actor needs.
    """

    settings: Mapping[str, object]
    options: FillOptions
    model: Mapping[str, object]
    gpus: int

    @classmethod
    def of(
        cls, settings: Settings, options: FillOptions, columns: Sequence[str] | None, name: str
    ) -> Self:
        """Check a job here, before any actor starts; loads the model for it, on the CPU.

        Args:
            columns: of the rows; None if they are not known.
            name: what the rows are called in an error.

        Raises:
            FillError: a column is missing or taken, or the settings name one GPU of a machine.
            AppError, UnknownRelationError: the options are wrong whatever the rows are.
            MaskError, PlmError, StartupError: the base or a pack cannot be loaded.
        """
        if settings.device.startswith("cuda:"):
            raise FillError(
                f"the device is {settings.device!r}, but Ray gives each actor a GPU; say cuda"
            )
        check_free(columns or ())
        service = Service.load(settings.model_copy(update={"device": "cpu", "cache": "off"}))
        try:
            check_job(service, columns, name, options)
            model = model_identity(service)
        finally:
            service.close()
        return cls(_portable(settings), options, model, int(settings.device == "cuda"))

    def load(self, threads: int) -> Service:
        """The service of an actor, whose passes run on so many threads.

        Raises:
            FillError: this machine has another base or other masks than the one that planned.
        """
        service = Service.load(Settings.model_validate({**self.settings, "threads": threads}))
        if model_identity(service) != self.model:
            service.close()
            raise FillError(
                "the base or the masks on this machine are not those of the machine that began; "
                "put the same packs in the same place on all of them"
            )
        return service


def _portable(settings: Settings) -> Mapping[str, object]:
    base = Path(settings.base).expanduser()
    is_folder = base.exists() and settings.base not in embedded_bases()
    changes = {
        "base": str(base.absolute()) if is_folder else settings.base,
        # Where a shipped pack lies depends on how relata is installed, its name does not.
        "packs": tuple(
            Path(path.name) if path == shipped_pack(path.name) else path.absolute()
            for path in settings.packs
        ),
        "uploads": None if settings.uploads is None else settings.uploads.absolute(),
        "knowledge": (),
        "cache": "off",
        "redis_url": None,
        "api_key": None,
        "admin_key": None,
    }
    return settings.model_copy(update=changes).model_dump()
