CREATE TABLE organizations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    domain text NOT NULL,
    status text NOT NULL DEFAULT 'trial',
    plan text NOT NULL DEFAULT 'free',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT organizations_pkey PRIMARY KEY (id),
    CONSTRAINT organizations_name_check CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT organizations_domain_check CHECK (domain ~ '^[^[:space:]@]+\.[^[:space:]@]+$'),
    CONSTRAINT organizations_status_check CHECK (status IN ('trial', 'active', 'suspended', 'closed')),
    CONSTRAINT organizations_plan_check CHECK (plan IN ('free', 'team', 'enterprise'))
);

-- A deleted organization gives its domain back. This is also the index of the search by domain.
CREATE UNIQUE INDEX organizations_domain_key ON organizations (lower(domain)) WHERE deleted_at IS NULL;

CREATE TRIGGER organizations_touch_updated_at BEFORE UPDATE ON organizations
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
