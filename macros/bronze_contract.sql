{#- The key of a table of bronze, what the deletion of a row has to tell, and silver's types of the columns, which
    ingestion/source.py names for the loaders. -#}
{% macro bronze_contract(table) -%}
    {{ return({
        "invoices": {
            "key": "invoice_id",
            "deletion_needs": ["invoice_id", "updated_at"],
            "columns": {
                "invoice_id": "bigint", "invoice_number": "string", "customer_id": "string", "country": "string",
                "invoice_date": "date", "due_date": "date", "currency_code": "string", "net_amount": "decimal(18, 2)",
                "tax_amount": "decimal(18, 2)", "total_amount": "decimal(18, 2)", "status": "string",
                "created_at": "timestamp", "updated_at": "timestamp",
            },
        },
        "countries": {
            "key": "country_code",
            "deletion_needs": ["country_code", "updated_at"],
            "columns": {
                "country_code": "string", "country_name": "string", "region": "string", "sub_region": "string",
                "currency_code": "string", "updated_at": "timestamp",
            },
        },
    }[table]) }}
{%- endmacro %}
