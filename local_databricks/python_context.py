"""What a command context's process runs: reads commands as JSON lines, runs them, writes what came of them.

Started by `commands.Context`; the address and the token of Spark come in SPARK_REMOTE and
SPARK_CONNECT_AUTHENTICATE_TOKEN. The catalog is the endpoint's: code that names a table asks it first, on the same two pipes.
"""

import base64
import contextlib
import io
import json
import os
import queue
import sys
import threading
import traceback

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.readwriter import DataFrameReader, DataFrameWriter
from pyspark.sql.connect.session import SparkSession

from local_databricks.delta import write_rows
from local_databricks.engine import SharedChannelBuilder


class Endpoint:
    """The other end of the pipes: commands come from there, and answers to what this process asks."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what the code or a library prints past sys.stdout must not mix with the messages
        self.commands: queue.Queue[dict] = queue.Queue()
        self._answers: queue.Queue[dict] = queue.Queue()
        self._asking = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            self._answers.put(message["answer"]) if "answer" in message else self.commands.put(message)
        os._exit(0)  # the endpoint is gone, so nobody wants the result: no orphan runs on

    def send(self, message: dict) -> None:
        print(json.dumps(message), file=self._out, flush=True)

    def ask(self, **question: str) -> dict:
        """Raises AnalysisException with the endpoint's words where the answer is an error."""
        with self._asking:
            self.send({"ask": question})
            answer = self._answers.get()
        if "error" in answer:
            raise AnalysisException(answer["error"])
        return answer


def use_catalog_of(endpoint: Endpoint) -> None:
    """Have PySpark's ways to name a table ask the endpoint, which knows it and tells Spark."""
    sql, table = SparkSession.sql, DataFrameReader.table
    insert, save = DataFrameWriter.insertInto, DataFrameWriter.saveAsTable

    def sql_(self, sqlQuery, *arguments, **named):
        answer = endpoint.ask(sql=sqlQuery)
        if "rows" in answer:
            return self.createDataFrame(pa.ipc.open_stream(base64.b64decode(answer["rows"])).read_all())
        return sql(self, answer["sql"], *arguments, **named)

    def table_(self, tableName):
        return table(self, endpoint.ask(table=tableName)["name"])

    def insert_(self, tableName, overwrite=None):
        return insert(self, endpoint.ask(table=tableName)["name"], overwrite)

    def save_(self, name, format=None, mode=None, partitionBy=None, **options):
        answer = endpoint.ask(saves=name)
        if answer["by_engine"]:
            options.setdefault("path", answer["location"])  # as Unity Catalog does, the catalog says where a table lies
            save(self, answer["name"], format, mode, partitionBy, **options)
        else:
            columns = [partitionBy] if isinstance(partitionBy, str) else partitionBy or self._write.partitioning_cols
            write_rows(
                answer["location"],
                DataFrame(self._df, self._spark).toArrow(),
                mode or self._write.mode or "error",
                list(columns or []),
            )
        endpoint.ask(saved=name, location=answer["location"])

    SparkSession.sql, DataFrameReader.table = sql_, table_
    DataFrameWriter.insertInto, DataFrameWriter.saveAsTable = insert_, save_


def main() -> None:
    endpoint = Endpoint()
    token = os.environ.pop("SPARK_CONNECT_AUTHENTICATE_TOKEN")
    builder = SharedChannelBuilder(f"{os.environ['SPARK_REMOTE']};token={token}")
    spark = SparkSession.builder.channelBuilder(builder).create()
    use_catalog_of(endpoint)
    namespace = {"__name__": "__main__", "spark": spark}
    while True:
        message, output = endpoint.commands.get(), io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(compile(message["code"], "<command>", "exec"), namespace)
            results = {"resultType": "text", "data": output.getvalue()}
        except BaseException as error:  # SystemExit too: the code decides nothing about this process
            summary = f"{type(error).__name__}: {error}".split("\n\nJVM stacktrace:")[0]
            results = {"resultType": "error", "summary": summary, "cause": traceback.format_exc()}
        endpoint.send({"id": message["id"], "results": results})


if __name__ == "__main__":
    main()
