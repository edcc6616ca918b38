CREATE TABLE user_organizations (
    user_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    role text NOT NULL DEFAULT 'member',
    joined_at timestamptz NOT NULL DEFAULT now(),
    -- The user comes first: this is also the index of "memberships of a user".
    CONSTRAINT user_organizations_pkey PRIMARY KEY (user_id, organization_id),
    CONSTRAINT user_organizations_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT user_organizations_organization_id_fkey
        FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
    CONSTRAINT user_organizations_role_check CHECK (role IN ('owner', 'admin', 'member', 'viewer'))
);
