"""Months in which a country's net revenue is far from what is usual for the country, by the modified z-score of Iglewicz and
Hoaglin, "How to Detect and Handle Outliers" (1993): median and median absolute deviation, which the outliers that are looked
for do not move. The yml beside this file describes the rules."""

from decimal import Decimal

import pandas as pd

FACTOR = 0.6745  # makes the median absolute deviation of normally distributed values comparable to a standard deviation
THRESHOLD = 3.5  # beyond this, Iglewicz and Hoaglin take a value for a potential outlier
MINIMUM_MONTHS = 12  # of fewer months nothing is called usual
SCHEMA = (
    "country_key string, invoice_month date, net_revenue_reporting decimal(34,2), month_count int,"
    " median_net_revenue double, median_absolute_deviation double, robust_z_score double, is_anomaly boolean, direction string"
)


def score(revenue, last_month):
    """The rows of one country, one per calendar month from its first month to `last_month`.

    revenue: a frame with country_key (the same in each row), invoice_month and net_revenue_reporting.
    """
    columns = [column.split()[0] for column in SCHEMA.split(", ")]
    known = dict(zip(pd.to_datetime(revenue["invoice_month"]), revenue["net_revenue_reporting"], strict=True))
    months = pd.date_range(min(known), last_month, freq="MS")
    if months.empty:
        return pd.DataFrame(columns=columns)
    exact = [known.get(month, Decimal("0.00")) for month in months]
    values = pd.Series([float(value) for value in exact])
    median = values.median()
    deviation = (values - median).abs().median()
    is_scored = len(months) >= MINIMUM_MONTHS and deviation > 0
    z_scores = [round(FACTOR * (value - median) / deviation, 4) if is_scored else None for value in values]
    rows = []
    for month, revenue_of_month, z in zip(months, exact, z_scores, strict=True):
        is_anomaly = z is not None and abs(z) > THRESHOLD
        direction = ("spike" if z > 0 else "drop") if is_anomaly else None
        rows.append(
            (month.date(), revenue_of_month, len(months), round(median, 4), round(deviation, 4), z, is_anomaly, direction)
        )
    scored = pd.DataFrame(rows, columns=columns[1:])
    scored.insert(0, "country_key", revenue["country_key"].iloc[0])
    return scored


def model(dbt, spark):
    """One row per country and complete calendar month."""
    dbt.config(
        materialized="incremental",
        incremental_strategy="insert_overwrite",
        submission_method="all_purpose_cluster",
        create_notebook=False,
    )
    [[as_of_date]] = dbt.ref("fct_invoices").select("as_of_date").limit(1).collect() or [[None]]
    if as_of_date is None:
        return spark.createDataFrame([], SCHEMA)
    last_month = pd.Timestamp(as_of_date).to_period("M").to_timestamp() - pd.DateOffset(months=1)
    revenue = dbt.ref("agg_invoices_country_month").select("country_key", "invoice_month", "net_revenue_reporting")
    return revenue.groupBy("country_key").applyInPandas(lambda rows: score(rows, last_month), SCHEMA)
