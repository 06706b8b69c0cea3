"""What the routes find on the application: the service, once it is loaded."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.errors import NotReadyError
from app.service import Service


@dataclass
class Readiness:
    """The service of an application, or why there is none yet."""

    service: Service | None = None
    stopping: bool = False

    def require(self) -> Service:
        """The service.

        Raises:
            NotReadyError: it is not loaded yet, or stopping.
        """
        if self.stopping:
            raise NotReadyError("the service is stopping; send the request again")
        if self.service is None:
            raise NotReadyError(
                "the model and its masks are still being loaded; GET /ready says when they are"
            )
        return self.service


def _service(request: Request) -> Service:
    readiness: Readiness = request.app.state.readiness
    return readiness.require()


ReadyService = Annotated[Service, Depends(_service)]
