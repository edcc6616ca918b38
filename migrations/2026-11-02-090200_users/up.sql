CREATE TABLE users (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text NOT NULL,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'invited',
    role text NOT NULL DEFAULT 'member',
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_check CHECK (email ~ '^[^[:space:]@]+@[^[:space:]@]+$'),
    CONSTRAINT users_name_check CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT users_status_check CHECK (status IN ('invited', 'active', 'suspended')),
    CONSTRAINT users_role_check CHECK (role IN ('admin', 'staff', 'member'))
);

-- lower() and not citext: with citext, `email = $1` silently stops using the index when $1 is sent as text.
CREATE UNIQUE INDEX users_email_key ON users (lower(email)) WHERE deleted_at IS NULL;

CREATE TRIGGER users_touch_updated_at BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
