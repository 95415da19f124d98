"""One address on loopback for what readers see: static pages, compressed, cached, and kept from asking any other machine."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
from servestatic import ServeStaticASGI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ingestion.settings import IngestionError, lakehouse_home, write_whole

DEFAULT_PORT = 8090
#: Evidence runs SQL in the browser (WebAssembly in a worker) and all three sites have their scripts and styles in the page.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:;"
    " frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
#: Addresses with a hash of the content in them: Vite's, and those of the tables.
_IMMUTABLE = re.compile(r"/_app/immutable/|/data/\w+/\w+/[0-9a-f]{16}/")
#: Not worth compressing, or already.
_PACKED = {".png", ".ico", ".woff", ".woff2", ".gz", ".zstd"}


def port(variable: str = "SERVE_PORT", default: int = DEFAULT_PORT) -> int:
    """The port that a variable names. Raises IngestionError, one sentence, where it is none or somebody listens there."""
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise IngestionError(f"{variable} must be a port number, not {text!r}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise IngestionError(f"{variable} {text} cannot be used ({error.strerror}); set it to another one") from None
    return int(text)


def site_folder() -> Path:
    """Where the site is."""
    return lakehouse_home() / "site"


def compress(folder: Path) -> None:
    """Lay compressed copies beside the files of a folder that nobody reads yet: a copy of an older content would be served for
    the new one."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix not in _PACKED:
            pack(file, file.read_bytes())


def pack(path: Path, content: bytes) -> None:
    """Lay compressed copies beside a file, as servestatic serves them: zstd, and gzip for who does not know it."""
    for suffix, codec in ((".zstd", pa.Codec("zstd", 9)), (".gz", pa.Codec("gzip", 6))):
        packed = codec.compress(content, asbytes=True)
        if len(packed) < 0.95 * len(content):
            write_whole(path.with_name(path.name + suffix), packed)


def application(folder: Path) -> Any:
    """The ASGI application over the site; a page that is replaced while it runs is served as it is then."""

    def headers(headers: Any, path: str, url: str) -> None:
        headers["Content-Security-Policy"] = POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"

    files = ServeStaticASGI(
        None, root=folder, autorefresh=True, index_file=True, max_age=0, allow_all_origins=False,
        immutable_file_test=lambda path, url: bool(_IMMUTABLE.search(url)), add_headers_function=headers,
        mimetypes={".arrow": "application/vnd.apache.arrow.stream", ".wasm": "application/wasm"},
    )  # fmt: skip

    async def canonical(scope: Any, receive: Any, send: Any) -> None:
        # Evidence asks for /api//quality/…, with two slashes
        if scope["type"] == "http":
            scope = scope | {"path": re.sub("/{2,}", "/", scope["path"])}
        await files(scope, receive, send)

    # Another site's page may have its name resolve to this machine and would then read these pages.
    return TrustedHostMiddleware(canonical, allowed_hosts=["127.0.0.1", "localhost"])


def serve(folder: Path, port: int) -> None:
    """Serve the site on 127.0.0.1 until it is interrupted."""
    import uvicorn

    uvicorn.run(application(folder), host="127.0.0.1", port=port, log_level="warning")
