"""Where the local endpoint keeps its state, and the settings it takes from the environment."""

import contextlib
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The name under which Databricks shows the catalog that is not Unity Catalog's.
CATALOG = "hive_metastore"
#: The name that open-source Spark gives to the same catalog.
SPARK_CATALOG = "spark_catalog"
#: The one user that there is.
USER = "local"
CLUSTER_ID = "0000-000000-local"
#: A cluster's path, not a warehouse's: dbt-databricks then asks for the runtime's version and keeps to what it can do.
HTTP_PATH = f"sql/protocolv1/o/0/{CLUSTER_ID}"
#: Open-source Spark lacks what runtimes after 15.4 promise (COMMENT ON COLUMN, INSERT … REPLACE ON, DESCRIBE AS JSON).
RUNTIME_VERSION = "15.4.x-scala2.13"

DEFAULT_PORT = 15443


class LocalDatabricksError(Exception):
    """Something that the user can mend; the text is one sentence that names it."""


def free_port() -> int:
    """A port of loopback on which nobody listens, and which the kernel gives to nobody before the caller listens on it.

    That takes seconds, in which any outgoing connection may get one of the ports that the system hands out by itself; on Linux
    and macOS those are above (ip-sysctl's ip_local_port_range: 32768 to 60999).
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def lakehouse_home() -> Path:
    """The folder of all data and state: LAKEHOUSE_HOME, or `.lakehouse` in the project."""
    return Path(os.environ.get("LAKEHOUSE_HOME") or ROOT / ".lakehouse").expanduser().resolve()


def cache_home() -> Path:
    """The one folder outside the clone: what is downloaded once for every clone (XDG_CACHE_HOME is respected)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "invoices-countries"


def _number(name: str, default: int, low: int, high: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise LocalDatabricksError(f"{name} must be a whole number from {low} to {high}, and is {text!r}.")
    return int(text)


@dataclass(frozen=True)
class Settings:
    """One endpoint's settings.

    home: the folder of all data and state. port: the HTTPS port on loopback. memory_mb: the heap of Spark's JVM, in MiB.
    engine: "spark" or "sail".
    """

    home: Path
    port: int
    memory_mb: int
    engine: str

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read LAKEHOUSE_HOME, LOCAL_DATABRICKS_PORT, LOCAL_DATABRICKS_MEMORY_MB and ENGINE.

        Raises LocalDatabricksError for a value that cannot be.
        """
        engine = (os.environ.get("ENGINE") or "spark").lower()
        if engine not in ("spark", "sail"):
            raise LocalDatabricksError(f"ENGINE must be spark or sail, and is {engine!r}.")
        return cls(
            home=lakehouse_home(),
            port=_number("LOCAL_DATABRICKS_PORT", DEFAULT_PORT, 1, 65535),
            memory_mb=_number("LOCAL_DATABRICKS_MEMORY_MB", 3072, 512, 1_048_576),
            engine=engine,
        )

    @property
    def state(self) -> Path:
        return self.home / "local_databricks"

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse"

    @property
    def catalog_file(self) -> Path:
        return self.state / "catalog.sqlite"

    @property
    def token_file(self) -> Path:
        return self.state / "token"

    @property
    def ca_file(self) -> Path:
        return self.state / "ca.pem"

    @property
    def ca_bundle_file(self) -> Path:
        return self.state / "ca-bundle.pem"

    @property
    def trust_store_file(self) -> Path:
        return self.state / "ca.p12"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def token(self) -> str:
        """The bearer token; made at the first call and kept readable for its owner only."""
        try:
            return self.token_file.read_text().strip()
        except FileNotFoundError:
            write_private(self.token_file, "dapi" + secrets.token_hex(16))
            return self.token_file.read_text().strip()

    def client_environment(self) -> dict[str, str]:
        """The variables from which dbt's profile, the ingestion and other clients learn how to connect."""
        return {
            "DBT_TARGET": "local",
            "LAKEHOUSE_HOME": str(self.home),
            # dbt reads these before it renders Jinja in dbt_project.yml, so a moved lakehouse must be told this way
            "DBT_TARGET_PATH": str(self.home / "dbt" / "target"),
            "DBT_LOG_PATH": str(self.home / "dbt" / "logs"),
            "LOCAL_DATABRICKS_HOST": self.address,
            "LOCAL_DATABRICKS_HTTP_PATH": HTTP_PATH,
            "LOCAL_DATABRICKS_TOKEN": self.token(),
            "LOCAL_DATABRICKS_CA_FILE": str(self.ca_file),
            "LOCAL_DATABRICKS_TRUST_STORE": str(self.trust_store_file),  # the same for Java (PKCS#12)
            # dbt-databricks probes the host, and its SDK calls it, through requests, which knows no other way to trust a CA
            "REQUESTS_CA_BUNDLE": str(self.ca_bundle_file),
        }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at once or not at all; an existing one is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
