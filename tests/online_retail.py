"""Load the Online Retail file (UCI, 2010-2011) into a PostgreSQL of the source contract: a real, dirty source.

    python -m tests.online_retail FILE.csv SQLALCHEMY_URL

Every line of the file becomes one row of `invoices` (invoice_id = its line number, invoice_number = its InvoiceNo), so
that each line can be accounted for; the file's countries become `countries`, in the file's own spelling, keyed by a number.
"""

import sys

import pandas as pd
import sqlalchemy as sa


def read(path: str) -> pd.DataFrame:
    """The file's lines as rows of `invoices`; amounts in pence-exact decimals (quantity times unit price, rounded half up)."""
    from decimal import ROUND_HALF_UP, Decimal

    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    cent = Decimal("0.01")
    totals = [
        (Decimal(quantity) * Decimal(price)).quantize(cent, ROUND_HALF_UP)
        for quantity, price in zip(lines["Quantity"], lines["UnitPrice"], strict=True)
    ]
    moments = pd.to_datetime(lines["InvoiceDate"], utc=True)
    return pd.DataFrame(
        {
            "invoice_id": range(1, len(lines) + 1),
            "invoice_number": lines["InvoiceNo"],
            "customer_id": lines["CustomerID"].str.removesuffix(".0").replace("", None),
            "country": lines["Country"],
            "invoice_date": moments.dt.date,
            "due_date": None,
            "currency_code": "GBP",
            "net_amount": totals,
            "tax_amount": Decimal(0),
            "total_amount": totals,
            "status": ["credit_note" if number.startswith("C") else "paid" for number in lines["InvoiceNo"]],
            "created_at": moments,
            "updated_at": moments,
        }
    )


def load(path: str, url: str) -> pd.DataFrame:
    """Create and fill `invoices` and `countries` at `url`; returns the rows of `invoices`."""
    invoices = read(path)
    names = sorted(invoices["country"].unique())
    countries = pd.DataFrame(
        {
            "country_code": [f"OR{number:02}" for number in range(len(names))],
            "country_name": names,
            "updated_at": invoices["updated_at"].max(),
        }
    )
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "create table invoices (invoice_id bigint primary key, invoice_number text, customer_id text, country text,"
                " invoice_date date, due_date date, currency_code text, net_amount numeric(18,2), tax_amount numeric(18,2),"
                " total_amount numeric(18,2), status text, created_at timestamptz, updated_at timestamptz not null);"
                " create table countries (country_code text primary key, country_name text, region text, sub_region text,"
                " currency_code text, updated_at timestamptz not null)"
            )
        )
        options = {"if_exists": "append", "index": False, "method": "multi", "chunksize": 1000}
        countries.to_sql("countries", connection, **options)
        invoices.to_sql("invoices", connection, **options)
    engine.dispose()
    return invoices


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"{len(load(sys.argv[1], sys.argv[2])):,} lines loaded")
