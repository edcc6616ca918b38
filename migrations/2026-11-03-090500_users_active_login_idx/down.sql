DROP INDEX CONCURRENTLY users_active_login_idx;
