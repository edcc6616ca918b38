CREATE INDEX CONCURRENTLY notes_patient_created_idx ON notes (patient_id, created_at DESC)
    WHERE deleted_at IS NULL;
