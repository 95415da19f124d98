"""One address on loopback for what readers see: static pages, compressed, cached, and kept from asking any other machine."""

import os
import re
import socket
from pathlib import Path
from typing import Any

from servestatic import ServeStaticASGI
from servestatic.compress import Compressor
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ingestion.settings import IngestionError

DEFAULT_PORT = 8090
#: Evidence runs SQL in the browser (WebAssembly in a worker) and all three sites have their scripts and styles in the page.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:;"
    " frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
#: Names with a hash of the content in them, as Vite gives them.
_IMMUTABLE = re.compile(r"/_app/immutable/")
_AS_THEY_ARE = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "parquet")  # compressed in itself


def port() -> int:
    """The port of SERVE_PORT. Raises IngestionError, one sentence, where it is none or somebody listens there."""
    text = os.environ.get("SERVE_PORT") or str(DEFAULT_PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise IngestionError(f"SERVE_PORT must be a port number, not {text!r}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise IngestionError(f"SERVE_PORT {text} cannot be used ({error.strerror}); set it to another one") from None
    return int(text)


def compress(folder: Path) -> None:
    """Lay a gzip copy beside each file of a folder that it makes smaller.

    For a folder that nobody reads yet: a copy of an older content would be served for the new one.
    """
    compressor = Compressor(extensions=_AS_THEY_ARE, use_brotli=False, use_zstd=False, quiet=True)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and compressor.should_compress(file.name):
            compressor.compress(file)


def application(folder: Path) -> Any:
    """The ASGI application over the site; a page that is replaced while it runs is served as it is then."""

    def headers(headers: Any, path: str, url: str) -> None:
        headers["Content-Security-Policy"] = POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"

    files = ServeStaticASGI(
        None, root=folder, autorefresh=True, index_file=True, max_age=0, allow_all_origins=False,
        immutable_file_test=lambda path, url: bool(_IMMUTABLE.search(url)), add_headers_function=headers,
        mimetypes={".parquet": "application/vnd.apache.parquet", ".wasm": "application/wasm"},
    )  # fmt: skip
    # Another site's page may have its name resolve to this machine and would then read these pages.
    return TrustedHostMiddleware(files, allowed_hosts=["127.0.0.1", "localhost"])


def serve(folder: Path, port: int) -> None:
    """Serve the site on 127.0.0.1 until it is interrupted."""
    import uvicorn

    uvicorn.run(application(folder), host="127.0.0.1", port=port, log_level="warning")
