CREATE INDEX CONCURRENTLY todos_open_assignee_idx ON todos (assignee_id, due_on)
    WHERE completed_at IS NULL AND deleted_at IS NULL;
