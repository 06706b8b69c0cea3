"""What the routes find on the application: the service, once it is loaded."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.errors import NotReadyError
from app.service import Service

_STOPPING = "the service is stopping; send the request again"


@dataclass
class Readiness:
    """The service of an application, or why there is none.

    Attributes:
        service: None while it is being loaded.
        draining: the process was told to stop; it answers what comes, but wants nothing more.
        stopping: nothing is answered any more.
    """

    service: Service | None = None
    draining: bool = False
    stopping: bool = False

    def require(self) -> Service:
        """The service.

        Raises:
            NotReadyError: it is not loaded yet, or stopping.
        """
        if self.stopping:
            raise NotReadyError(_STOPPING)
        if self.service is None:
            raise NotReadyError(
                "the model and its masks are still being loaded; GET /ready says when they are"
            )
        return self.service

    def check_ready(self) -> None:
        """Whether more requests are welcome.

        Raises:
            NotReadyError: they should go elsewhere.
        """
        if self.draining:
            raise NotReadyError(_STOPPING)
        self.require()


async def _readiness(request: Request) -> Readiness:
    readiness: Readiness = request.app.state.readiness
    return readiness


async def _service(request: Request) -> Service:
    return (await _readiness(request)).require()


AnyReadiness = Annotated[Readiness, Depends(_readiness)]
ReadyService = Annotated[Service, Depends(_service)]
