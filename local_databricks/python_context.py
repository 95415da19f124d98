"""What a command context's process runs: reads commands as JSON lines, runs them, writes what came of them.

Started by `commands.Context`; the address and the token of Spark come in SPARK_REMOTE and
SPARK_CONNECT_AUTHENTICATE_TOKEN.
"""

import contextlib
import io
import json
import os
import queue
import sys
import threading
import traceback

from pyspark.sql.connect.session import SparkSession

from local_databricks.spark import SharedChannelBuilder


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the code or a library prints past sys.stdout must not mix with the answers
    commands: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(line)
        os._exit(0)  # the endpoint is gone, so nobody wants the result: no orphan runs on

    threading.Thread(target=listen, daemon=True).start()
    token = os.environ.pop("SPARK_CONNECT_AUTHENTICATE_TOKEN")
    builder = SharedChannelBuilder(f"{os.environ['SPARK_REMOTE']};token={token}")
    spark = SparkSession.builder.channelBuilder(builder).create()
    namespace = {"__name__": "__main__", "spark": spark}
    while True:
        message, output = json.loads(commands.get()), io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(compile(message["code"], "<command>", "exec"), namespace)
            results = {"resultType": "text", "data": output.getvalue()}
        except BaseException as error:  # SystemExit too: the code decides nothing about this process
            summary = f"{type(error).__name__}: {error}".split("\n\nJVM stacktrace:")[0]
            results = {"resultType": "error", "summary": summary, "cause": traceback.format_exc()}
        print(json.dumps({"id": message["id"], "results": results}), file=answers, flush=True)


if __name__ == "__main__":
    main()
