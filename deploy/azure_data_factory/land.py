# Databricks notebook source
"""The last step of the pipeline load_bronze: what Data Factory has copied becomes rows of bronze, and vanished keys deletions.

Data Factory has no activity that runs SQL on Databricks, so this notebook does it, on the cluster of the copies. A run that
is repeated, as Data Factory does after a failure, adds nothing twice. Parameters: see `Load`.
"""

from dataclasses import dataclass


class TooManyDeleted(Exception):
    """More rows have vanished from the source than are believed at once."""


@dataclass(frozen=True)
class Load:
    """One table's load.

    schema, table, key: where bronze is, and its key column. run_id, loaded_at: of the pipeline's run (ISO 8601, UTC).
    max_deleted_share: of the rows that are not deleted, how many may vanish at once, from 0 to 1.
    """

    schema: str
    table: str
    key: str
    run_id: str
    loaded_at: str
    max_deleted_share: float

    def rows(self, columns: list[str]) -> str:
        """The statement that adds the copied rows that bronze does not have just so; `columns` are those of the source.

        So neither the overlap of two runs nor a row without a time comes again and again, nor the rows of a repeated run.
        """
        names = ", ".join(columns)
        same = " and ".join(f"landed.{name} <=> held.{name}" for name in columns)
        return f"""
            insert into {self.schema}.{self.table} ({names}, _adf_run_id, _adf_loaded_at, _is_deleted)
            select {names}, _adf_run_id, cast(_adf_loaded_at as timestamp), cast(_is_deleted as boolean)
            from {self.schema}.landing_{self.table} as landed
            left anti join (select {names} from {self.schema}.{self.table} where not _is_deleted) as held on {same}
        """

    def counts(self) -> str:
        """The statement that counts the rows that are not deleted (known), and those whose keys are gone (vanished)."""
        return f"""
            with {self._state()}
            select count(*) as known, count_if(keys.{self.key} is null) as vanished
            from present
            left join keys on present.{self.key} = keys.{self.key}
        """

    def deletions(self) -> str:
        """The statement that adds a deletion for each vanished key, dated now, or as its row where that is in the future."""
        return f"""
            insert into {self.schema}.{self.table} ({self.key}, updated_at, _adf_run_id, _adf_loaded_at, _is_deleted)
            with {self._state()}
            select
                present.{self.key}, concat(cast(greatest(present.last_at, timestamp'{self.loaded_at}') as string), 'Z'),
                '{self.run_id}', timestamp'{self.loaded_at}', true
            from present
            left anti join keys on present.{self.key} = keys.{self.key}
        """

    def check(self, known: int, vanished: int) -> None:
        """Raise TooManyDeleted where more than the share has vanished."""
        if vanished > self.max_deleted_share * known:
            raise TooManyDeleted(
                f"{vanished} of {known} rows of {self.table} are gone from the source, which is more than the share "
                f"{self.max_deleted_share} (parameter max_deleted_share): the new rows have landed, no deletion has"
            )

    def _state(self) -> str:
        # the newest version of each key, as silver has it: by updated_at, then by load
        return f"""
            newest as (
                select
                    {self.key}, _is_deleted, try_cast(updated_at as timestamp) as last_at,
                    row_number() over (
                        partition by {self.key}
                        order by try_cast(updated_at as timestamp) desc nulls last, _adf_loaded_at desc, _is_deleted desc
                    ) as place
                from {self.schema}.{self.table}
                where {self.key} is not null
            ),
            present as (select {self.key}, last_at from newest where place = 1 and not _is_deleted),
            keys as (select distinct {self.key} from {self.schema}.keys_{self.table})
        """


def main(spark, parameters: dict[str, str]) -> None:
    """Do one table's load; parameters are texts, as Data Factory hands them over. Raises TooManyDeleted after the rows."""
    compare = parameters.pop("compare_keys").lower() == "true"
    load = Load(**{**parameters, "max_deleted_share": float(parameters["max_deleted_share"])})
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    copied = spark.table(f"{load.schema}.landing_{load.table}").columns
    spark.sql(load.rows([name for name in copied if name not in ("_adf_run_id", "_adf_loaded_at", "_is_deleted")]))
    if compare:
        found = spark.sql(load.counts()).first()
        load.check(found["known"], found["vanished"])
        spark.sql(load.deletions())


if "dbutils" in globals():
    NAMES = ("schema", "table", "key", "run_id", "loaded_at", "compare_keys", "max_deleted_share")
    main(spark, {name: dbutils.widgets.get(name) for name in NAMES})  # noqa: F821
