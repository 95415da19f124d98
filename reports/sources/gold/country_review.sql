-- Country texts that nothing resolved for certain: what somebody has to decide.
select
    country_text,
    method,
    to_do,
    country_code,
    proposed_code,
    score,
    invoice_count,
    cast(total_amount_reporting as decimal(18, 2)) as total_amount,
    last_invoice_date
from ${gold}.agg_country_review
order by total_amount_reporting desc, country_text
