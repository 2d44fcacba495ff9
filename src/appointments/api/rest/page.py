"""The browser client: serves the files of one folder of the package, and nothing outside it."""

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import appointments

FOLDER = Path(appointments.__file__).parent / "page"

FOREVER = "public, max-age=31536000, immutable"
ASK_FIRST = "no-cache"


def serve(folder: Path = FOLDER) -> ASGIApp:
    """Serve the files of ``folder``, compressed. If there is no such folder, answer a 404 that says so."""
    return GZipMiddleware(_Page(directory=folder, html=True)) if folder.is_dir() else _NotBuilt()


class _Page(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        # Only files, by their plain names. For a folder without its slash, StaticFiles would redirect to an address
        # built from the Host header, which the client controls. Hidden files belong to the build.
        asked = scope["path"]
        named = path[:1] != "." and Path(path).suffix and asked == f"/{path}"
        if not (named or asked == "/"):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(full_path, *args, **kwargs)
        # File names under assets/ contain a digest of the content, so a name always means the same content.
        hashed = Path(full_path).parent.name == "assets"
        response.headers["Cache-Control"] = FOREVER if hashed else ASK_FIRST
        return response


class _NotBuilt:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        raise HTTPException(404, "The page is not built." if scope["path"] == "/" else "Not Found")
