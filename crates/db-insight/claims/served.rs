//! Statements of the shop that get no index, because it is there in another form.

/// The statement, and what serves it already.
pub(crate) const SERVED: &[(&str, &str)] = &[
    ("SELECT * FROM orders WHERE customer_id = 42", "CREATE INDEX x ON orders (customer_id DESC NULLS LAST)"),
    ("SELECT * FROM orders WHERE customer_id = 42", "CREATE INDEX x ON orders (customer_id) INCLUDE (total)"),
    ("SELECT * FROM orders WHERE customer_id = 42", "CREATE INDEX x ON orders (customer_id, created_at)"),
    ("SELECT * FROM orders WHERE customer_id = 42", "CREATE INDEX x ON orders USING hash (customer_id)"),
    (
        "SELECT * FROM orders WHERE customer_id = 42 ORDER BY created_at DESC LIMIT 10",
        "CREATE INDEX x ON orders (customer_id, created_at DESC NULLS FIRST)",
    ),
    (
        "SELECT * FROM orders ORDER BY total DESC NULLS LAST LIMIT 10",
        "CREATE INDEX x ON orders (total ASC NULLS FIRST)",
    ),
    ("SELECT * FROM customers WHERE email = 'User7@Example.com'", "ALTER TABLE customers ADD UNIQUE (email)"),
    (
        "SELECT * FROM customers WHERE email = 'User7@Example.com'",
        "CREATE INDEX x ON customers (email text_pattern_ops)",
    ),
    (
        "SELECT * FROM bookings WHERE during && tstzrange('2025-02-01', '2025-02-02')",
        "ALTER TABLE bookings ADD EXCLUDE USING gist (during WITH &&)",
    ),
    ("SELECT id FROM orders WHERE tags @> ARRAY['t77']", "CREATE INDEX x ON orders USING gin (tags)"),
    (
        "SELECT * FROM orders WHERE data @> '{\"k\": 77}'",
        "CREATE INDEX x ON orders USING gin (data jsonb_ops)",
    ),
    (
        "SELECT * FROM customers WHERE lower(email) = 'user7@example.com'",
        "CREATE INDEX x ON customers (lower(email))",
    ),
    (
        "SELECT id FROM orders WHERE status = 'pending' ORDER BY created_at LIMIT 20",
        "CREATE INDEX x ON orders (created_at) WHERE status IN ('pending')",
    ),
];

/// Takes what serves away again; each is called `x`, or is a constraint.
pub(crate) const UNDO: &str = "DO $$ DECLARE c record; BEGIN DROP INDEX IF EXISTS x;
    FOR c IN SELECT conrelid::regclass AS of, conname FROM pg_constraint
        WHERE conname IN ('customers_email_key', 'bookings_during_excl')
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.of, c.conname); END LOOP; END $$";
