CREATE INDEX CONCURRENTLY user_organizations_organization_idx ON user_organizations (organization_id, joined_at DESC);
