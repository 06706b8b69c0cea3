"""The interactive documentation: Swagger UI, from this machine alone."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse

router = APIRouter(include_in_schema=False)

Asset = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]


def _assets() -> Path:
    # The package is wanted for these files only; its own way to serve them is not used.
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("fastapi-offline, which carries Swagger UI, is not installed")
    return Path(spec.origin).parent / "static"


_ASSETS = _assets()


@router.get("/docs")
async def documentation() -> HTMLResponse:
    """The page; its addresses are relative, so that it works under any prefix of a proxy."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Relata",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "persistAuthorization": False},
    )


@router.get("/docs/{asset}")
async def documentation_asset(asset: Asset) -> FileResponse:
    """What the page is made of."""
    return FileResponse(_ASSETS / asset, headers={"Cache-Control": "max-age=86400"})
