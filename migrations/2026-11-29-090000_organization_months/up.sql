-- Counting people anew for each ranking reads every event of the month: 'dbctl maintain apply' refreshes it instead.
CREATE MATERIALIZED VIEW organization_months AS
    SELECT organization_id, date_trunc('month', created_at, 'UTC') AS month, count(*) AS events,
        count(DISTINCT user_id) AS people, max(created_at) AS last_event_at
    FROM events
    GROUP BY 1, 2;
-- Unique, on plain columns: without it no refresh beside readers.
CREATE UNIQUE INDEX organization_months_key ON organization_months (month, organization_id);
