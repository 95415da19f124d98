"""The Evidence site of `reports/`: what its queries find lands as files, and its pages are built where they changed.

`reports/sources/gold/*.sql` run on the target of DBT_TARGET, through the connection that the project's other parts use, and
land as Arrow files that the pages fetch in the reader's browser. So new data needs no new build of the pages: a build is of
three kinds, and `build` says which: nothing, the data alone (seconds), the pages too (minutes).

Settings, all optional: REPORTS_CUSTOMERS=id shows customers' own keys, on a site for colleagues; by default each has a
pseudonym, made with REPORTS_CUSTOMER_KEY or, without, with a key that is made once and kept in the lakehouse's folder.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion import warehouse
from ingestion.dbt_command import target_folder
from ingestion.settings import REPOSITORY, IngestionError, first_line, lakehouse_home, run_lock, write_whole
from local_databricks.settings import write_private
from serving import node
from serving.server import compress, pack, site_folder

PROJECT = REPOSITORY / "reports"
#: The source's name in Evidence, which is the schema that the pages' queries name.
SOURCE = "gold"
#: How many invoices the explorer has at most; the page says where there are more.
INVOICES = 500_000
#: Where the site is served, as reports/evidence.config.yaml says.
BASE = "/reports"


def build(say: Callable[[str], None] = print, force: bool = False) -> Path:
    """Make or renew the site in `site/reports` of the lakehouse's folder; returns that folder.

    say: is told in one line what was done. force: build the pages even where they are as they were.
    Raises IngestionError (WarehouseError among them), one sentence, where a setting, the warehouse, Node or a page is at fault.
    """
    began = time.monotonic()
    with _alone():
        tables = export()
        files = _files(tables)
        data, pages = _hash(json.dumps([file.path for file in files]).encode()), _hash_of_pages()
        site, state_file = site_folder() / "reports", _workshop() / "built.json"
        state = _read_json(state_file) if (site / "data" / "manifest.json").is_file() else {}
        if not force and state == {"data": data, "pages": pages}:
            say(f"Reports: nothing changed since the last build ({time.monotonic() - began:.0f} s)")
            return site
        if force or state.get("pages") != pages:
            what = "pages and data"
            _build_pages(site, files)
        else:
            what = "data; the pages are as they were"
            _put_data(site, files)
        _give_addresses(site, tables)
        state_file.write_text(json.dumps({"data": data, "pages": pages}), encoding="utf-8")
    say(f"Reports: built {what} ({time.monotonic() - began:.0f} s)")
    return site


def develop(port: int, say: Callable[[str], None] = print) -> None:
    """Serve the pages from reports/ on http://127.0.0.1:<port>/reports/ until interrupted; an edited page shows at once.

    Edited queries of reports/sources need a new start. Raises what `build` raises.
    """
    with _alone():
        files = _files(export())
        project = _working_copy("develop", link=True)
        static = project / ".evidence" / "template" / "static"
        shutil.rmtree(static / "data", ignore_errors=True)
        _put_data(static, files, packed=False)
    say(f"Reports: http://127.0.0.1:{port}{BASE}/ until Ctrl-C")
    arguments = ["node", str(_evidence(project)), "dev", "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    with contextlib.suppress(KeyboardInterrupt):
        node.stay(arguments, project)


# ---- what the queries find


def export() -> dict[str, pa.Table]:
    """Run the queries of reports/sources on the target; returns each one's result by its name, customers as pseudonyms.

    Raises WarehouseError where the warehouse is at fault, and IngestionError where a query or a setting is.
    """
    named = _customers()
    words = {layer: f"`{warehouse.catalog()}`.`{warehouse.schema(layer)}`" for layer in ("gold", "elementary")}
    words["invoices"] = str(INVOICES)
    tables, notes = {}, ""
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        for file in sorted((PROJECT / "sources" / SOURCE).glob("*.sql")):
            try:
                cursor.execute(string.Template(file.read_text(encoding="utf-8")).substitute(words))
                found = cursor.fetchall_arrow()
            except Exception as error:  # the connector lets errors of urllib3 and thrift through
                if file.stem == "test_results" and any(condition in str(error) for condition in _NO_ELEMENTARY):
                    continue
                raise IngestionError(f"reports/sources/{SOURCE}/{file.name}: {first_line(error)[:300]}") from error
            tables[file.stem] = _fitting(found, named)
    tables["test_results"], notes = _test_results(tables.get("test_results"))
    shows = "id" if named is None else "pseudonym"
    tables["site"] = pa.table({"invoice_limit": [INVOICES], "customers": [shows], "tests_note": [notes]})
    return tables


def _customers() -> Callable[[str], str] | None:
    """What a customer is shown as, by customer_key; None where it is the key itself."""
    shows = os.environ.get("REPORTS_CUSTOMERS") or "pseudonym"
    if shows == "id":
        return None
    if shows != "pseudonym":
        raise IngestionError(f"REPORTS_CUSTOMERS must be pseudonym or id, and is {shows!r}")
    key = os.environ.get("REPORTS_CUSTOMER_KEY") or ""
    if key and len(key) < 16:
        raise IngestionError("REPORTS_CUSTOMER_KEY must have 16 characters or more: who guesses it can undo the pseudonyms")
    file = lakehouse_home() / "reports_customer_key"
    if not key:
        if not file.exists():
            write_private(file, secrets.token_hex(32))
        key = file.read_text(encoding="utf-8").strip()

    def pseudonym(customer_key: str) -> str:
        # HMAC (RFC 2104): without the key, nobody finds the pseudonym of a number by trying all numbers. 50 of its bits are
        # enough for a million customers: two of them share one with a chance of 1 in 2,000.
        digest = hmac.digest(key.encode(), customer_key.encode(), "sha256")
        return "C-" + base64.b32encode(digest)[:10].decode()

    return pseudonym


def _fitting(table: pa.Table, named: Callable[[str], str] | None) -> pa.Table:
    """The table as DuckDB-wasm reads it quickly: one batch, UTC times without a zone, texts that repeat as dictionaries.

    Column customer_key becomes `customer`, by `named`; the unknown member stays `unknown`.
    """
    columns: dict[str, pa.Array] = {}
    for field in table.schema:
        column = table[field.name].combine_chunks() if table.num_rows else pa.array([], field.type)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.timestamp("ms"))
        elif pa.types.is_decimal(column.type):
            # 15 digits are exact in a double, which is half as long and what JavaScript and the charts compute with
            column = column.cast(pa.float64())
        elif pa.types.is_null(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        name = field.name
        if name == "customer_key":
            name = "customer"
            if named:
                keys = column.dictionary_encode()
                shown = pa.array([key if key == "unknown" else named(key) for key in keys.dictionary.to_pylist()], pa.string())
                column = shown.take(keys.indices)
        if pa.types.is_string(column.type) and len(column) > 10_000 and pc.count_distinct(column).as_py() < len(column) / 5:
            column = column.dictionary_encode()
        columns[name] = column
    return pa.table(columns)  # without the comments on columns, which the connector hands over too


#: The errors of a query to Elementary's tables where it is off, or where who builds the site may read gold alone; the latter's
#: text is in https://github.com/databricks-solutions/databricks-apps-cookbook/issues/18.
_NO_ELEMENTARY = ("TABLE_OR_VIEW_NOT_FOUND", "INSUFFICIENT_PERMISSIONS")

_TESTS = pa.schema(
    [("test_name", pa.string()), ("table_name", pa.string()), ("status", pa.string()), ("failures", pa.int64()),
     ("ran_at", pa.timestamp("ms"))]
)  # fmt: skip


def _test_results(elementary: pa.Table | None) -> tuple[pa.Table, str]:
    """The results of dbt's tests, with a sentence that says where they come from, or why there are none."""
    if elementary is not None and elementary.num_rows:
        return elementary, "The newest result of each of dbt's tests, as Elementary keeps them"
    folder = target_folder()
    results = _read_json(folder / "run_results.json")
    nodes = _read_json(folder / "manifest.json").get("nodes", {})
    rows = []
    for result in results.get("results", []):
        # a test without a status of its own was only compiled, by `dbt docs` or `dbt compile`
        if result["unique_id"].startswith("test.") and result["status"] in ("pass", "warn", "fail", "error", "skipped"):
            attached = nodes.get(result["unique_id"], {}).get("attached_node") or ""
            ended = [each["completed_at"] for each in result["timing"] if each.get("completed_at")]
            rows.append(
                {
                    "test_name": result["unique_id"].split(".")[2],
                    "table_name": nodes.get(attached, {}).get("alias"),
                    "status": result["status"],
                    "failures": result.get("failures"),
                    "ran_at": (ended or [results["metadata"]["generated_at"]])[-1].rstrip("Z"),
                }
            )
    if not rows:
        return _TESTS.empty_table(), (
            "No test results: Elementary's tables are not there or may not be read,"
            " and the last dbt command on this machine ran no tests."
        )
    table = pa.table({name: [row[name] for row in sorted(rows, key=lambda row: row["test_name"])] for name in _TESTS.names})
    return table.cast(_TESTS), "The results of the tests that dbt's last command on this machine ran"


# ---- what lies on disk


@dataclass(frozen=True)
class _File:
    """A table as it lies on disk: `path` below the site's folder, and its contents."""

    path: str
    content: bytes


def _files(tables: dict[str, pa.Table]) -> list[_File]:
    """The tables as files whose place changes with their contents, so that browsers may keep them for ever."""
    files = []
    for name, table in tables.items():
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        content = stream.getvalue().to_pybytes()
        files.append(_File(f"data/{SOURCE}/{name}/{_hash(content)}/{name}.arrow", content))
    return files


def _put_data(site: Path, files: list[_File], packed: bool = True) -> None:
    """Write the tables below `site`, then the manifest that names them, whole at any time.

    What the manifest before named stays, for readers who have a page open; what was older goes.
    """
    manifest = site / "data" / "manifest.json"
    before = set(_read_json(manifest).get("renderedFiles", {}).get(SOURCE, []))
    for file in files:
        path = site / file.path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if packed:
                pack(path, file.content)
            write_whole(path, file.content)
    write_whole(manifest, json.dumps({"renderedFiles": {SOURCE: [file.path for file in files]}}).encode())
    kept = before | {file.path for file in files}
    for path in (site / "data" / SOURCE).glob("*/*"):
        if not any(each.startswith(f"{path.relative_to(site)}/") for each in kept):
            shutil.rmtree(path)


def _build_pages(site: Path, files: list[_File]) -> None:
    """Build the pages in a working copy, lay the data beside them, and put both in the place of what is there."""
    project = _working_copy("build")
    shutil.rmtree(project / "build", ignore_errors=True)
    node.run(["node", str(_evidence(project)), "build"], project)
    new, old = site.with_name(".reports-new"), site.with_name(".reports-old")
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(project / "build", new)
    compress(new)
    if (site / "data").is_dir():  # who has the old page open still finds its tables
        shutil.copytree(site / "data", new / "data", copy_function=os.link)
    _put_data(new, files)
    if site.exists():
        site.rename(old)
    new.rename(site)
    shutil.rmtree(old, ignore_errors=True)


def _give_addresses(site: Path, tables: dict[str, pa.Table]) -> None:
    """Lay the page, which is one for all addresses, where a server without rules finds it for each of them."""
    shell = (site / "index.html").read_bytes()
    values = {"country": tables["countries"]["country_key"].to_pylist()}
    for file in (PROJECT / "pages").rglob("*.md"):
        address = file.relative_to(PROJECT / "pages").with_suffix("")
        address = address.parent if address.name == "index" else address
        addresses = [address]
        if address.name.startswith("["):
            addresses = [address.with_name(value) for value in values[address.name.strip("[]")]]
        for each in addresses:
            (site / each).mkdir(parents=True, exist_ok=True)
            if each != Path("."):
                write_whole(site / each / "index.html", shell)
    write_whole(site / "404.html", shell)


def _working_copy(name: str, link: bool = False) -> Path:
    """A copy of reports/ in the lakehouse's folder, beside its node_modules, so that the clone stays clean.

    link: its folders are links, for what is edited to show at once.
    """
    modules = node.packages(PROJECT, node.check_evidence)
    project = _workshop() / name
    project.mkdir(parents=True, exist_ok=True)
    for path in project.iterdir():
        if path.name != ".evidence":  # Evidence empties it, and keeps what is worth keeping
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not link:
        shutil.rmtree(project / ".evidence", ignore_errors=True)
    for path in PROJECT.iterdir():
        if path.name in ("sources", "node_modules", ".evidence"):
            continue  # sources: Evidence would look for a connection of its own
        if not path.is_dir():  # copied in any case: Node looks for packages from where a file really is
            shutil.copy(path, project / path.name)
        elif link:
            (project / path.name).symlink_to(path)
        else:
            shutil.copytree(path, project / path.name)
    (project / "node_modules").symlink_to(modules)
    return project


def _evidence(project: Path) -> Path:
    return project / "node_modules" / "@evidence-dev" / "evidence" / "cli.js"


def _workshop() -> Path:
    return lakehouse_home() / "reports-build"


@contextlib.contextmanager
def _alone():
    with run_lock(_workshop() / "lock", "build of the reports"):
        yield


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _hash_of_pages() -> str:
    """Of everything that the pages are built from: reports/ (the lock with it) without the queries, and how they are built."""
    files = sorted(path for path in PROJECT.rglob("*") if path.is_file() and "sources" not in path.parts)
    files += [Path(node.__file__)]
    return _hash(b"\0".join(file.name.encode() + file.read_bytes() for file in files))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
