"""Databricks' command execution API 1.2: runs the code of dbt's Python models, each context in a process of its own.

https://docs.databricks.com/api/workspace/commandexecution names the calls; what dbt-databricks makes of them is in its
api_client.py. A context's process has `spark` bound to the same engine as the SQL endpoint.
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import uuid

import pyarrow as pa

from local_databricks.catalog import Catalog, Relation
from local_databricks.engine import Engine
from local_databricks.results import describe, from_engine
from local_databricks.session import Session
from local_databricks.settings import ROOT
from local_databricks.statements import HANDLERS, execute
from local_databricks.words import Words, as_relation

#: dbt-databricks sleeps 10 s between two questions, so a question is answered only when there is news or after this.
STATUS_WAIT = 50.0
#: A context that nobody asks about for this many seconds has lost its client and is ended.
ABANDONED_AFTER = 120.0


class Context:
    """A Python process that runs one command after another; the variables of one are there for the next."""

    def __init__(self, engine: Engine, catalog: Catalog):
        self.id, self.asked = uuid.uuid4().hex, time.monotonic()
        self._session = Session(engine, catalog)
        self._results: dict[str, dict] = {}
        self._news = threading.Condition()
        engine.await_ready()
        remote = f"{engine.remote};session_id={self._session.id}"
        environment = {**os.environ, "SPARK_CONNECT_AUTHENTICATE_TOKEN": engine.token, "SPARK_REMOTE": remote}
        # not start_new_session: an interrupt of the endpoint's own terminal ends its contexts too
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "local_databricks.python_context"], cwd=ROOT, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, name=f"context-{self.id[:8]}", daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            message = json.loads(line)
            if "ask" in message:
                self._send({"answer": self._answer(message["ask"])})
                continue
            with self._news:
                self._results[message["id"]] = message["results"]
                self._news.notify_all()
        self._process.wait()
        with self._news:
            self._news.notify_all()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def execute(self, code: str) -> str:
        """Start a command; returns its id. The end of a process is told by `status`, as the API does."""
        command = uuid.uuid4().hex
        self.asked = time.monotonic()
        self._send({"id": command, "code": code})
        return command

    def _send(self, message: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:  # the process is gone
            pass

    def _answer(self, question: dict) -> dict:
        """What the process must know before its own client of the session goes on: see `python_context`."""
        session = self._session
        try:
            match question:
                case {"sql": sql}:
                    words = Words(sql)
                    if any(tuple(words.word(i) for i in range(n)) in HANDLERS for n in range(1, 5)):
                        table = execute(session, sql).table()
                        sink = pa.BufferOutputStream()
                        with pa.ipc.new_stream(sink, table.schema) as writer:
                            writer.write_table(table)
                        return {"rows": base64.b64encode(sink.getvalue()).decode()}
                    session.tell(words.parts(), session.schema)
                    return {"sql": session.engine.adapt(words, session.analyze)}
                case {"table": name}:
                    words = Words(name)
                    session.tell(words.parts(), session.schema)
                    return {"name": session.engine.rename_catalog(words)}
                case {"saves": name}:
                    key = as_relation(Words(name).name(), session.schema)
                    session.catalog.need_schema(key[0])
                    session.tell_schema(key[0])
                    relation = session.catalog.get(key)
                    if relation:
                        session.tell_relation(relation)
                    location = relation.location if relation else session.catalog.new_location(key)
                    by_engine = session.engine.is_shared  # else the process commits what the engine computed
                    return {"name": session.engine.quoted(*key), "location": location, "by_engine": by_engine}
                case {"saved": name, "location": location}:
                    key = as_relation(Words(name).name(), session.schema)
                    relation = session.catalog.get(key)
                    saved = relation.changed() if relation else Relation(*key, location)
                    session.known.relations[key] = session.catalog.put(saved)
                    return {}
        except Exception as error:  # told where the code asked
            return {"error": describe(error)[1]}
        raise AssertionError(question)

    def status(self, command: str) -> dict:
        """The state of a command in the API's words; waits for news for STATUS_WAIT seconds at most."""
        self.asked = time.monotonic()
        with self._news:
            self._news.wait_for(lambda: command in self._results or not self.alive, timeout=STATUS_WAIT)
            results = self._results.get(command)
        self.asked = time.monotonic()
        if results is None and self.alive:
            return {"id": command, "status": "Running"}
        if results is None:
            cause = f"The Python process of this context ended (exit code {self._process.returncode})."
            results = {"resultType": "error", "summary": cause, "cause": cause}
        if results["resultType"] == "error":
            results = {**results, "summary": from_engine(results["summary"]), "cause": from_engine(results["cause"])}
        return {"id": command, "status": "Finished", "results": results}

    def close(self) -> None:
        if self.alive:
            self._process.kill()
            self._process.wait()
        self._session.close()


class CommandService:
    """The contexts, by id."""

    def __init__(self, engine: Engine, catalog: Catalog):
        self.engine, self.catalog = engine, catalog
        self._contexts: dict[str, Context] = {}

    def create(self) -> dict:
        context = Context(self.engine, self.catalog)
        self._contexts[context.id] = context
        return {"id": context.id}

    def _context(self, context_id: str) -> Context:
        if context_id not in self._contexts:
            raise KeyError(f"Context {context_id} does not exist.")
        return self._contexts[context_id]

    def context_status(self, context_id: str) -> dict:
        return {"id": context_id, "status": "Running" if self._context(context_id).alive else "Error"}

    def destroy(self, context_id: str) -> dict:
        self._context(context_id)
        self._contexts.pop(context_id).close()
        return {"id": context_id}

    def execute(self, context_id: str, code: str) -> dict:
        return {"id": self._context(context_id).execute(code)}

    def status(self, context_id: str, command_id: str) -> dict:
        return self._context(context_id).status(command_id)

    def cancel(self, context_id: str, command_id: str) -> dict:
        self._context(context_id).close()  # Python code can be stopped in no gentler way; its session ends with it
        return {"id": command_id}

    def close_abandoned(self) -> None:
        for context in list(self._contexts.values()):
            if time.monotonic() - context.asked > ABANDONED_AFTER:
                self.destroy(context.id)

    def close(self) -> None:
        for context_id in list(self._contexts):
            self.destroy(context_id)
