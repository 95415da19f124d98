-- Gives the project's settings for Elementary's models something to apply to; dbt would warn at every run otherwise.
{{ config(enabled=false) }}
select 1 as one
