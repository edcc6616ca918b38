CREATE INDEX CONCURRENTLY patients_active_name_idx ON patients (organization_id, family_name, given_name)
    WHERE deleted_at IS NULL;
