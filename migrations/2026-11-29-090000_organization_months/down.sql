DROP MATERIALIZED VIEW organization_months;
