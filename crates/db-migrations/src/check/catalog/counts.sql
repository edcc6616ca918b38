-- How often each catalog was written in this session, whether that is as it was known, and -1 where nobody counts.
SELECT array_agg((now = was) IS NOT TRUE ORDER BY place) AS changed, array_agg(coalesce(now, -1) ORDER BY place) AS counts FROM (
    SELECT place, known[place] AS was, CASE WHEN current_setting('track_counts')::bool THEN pg_stat_get_xact_tuples_inserted(catalog)
        + pg_stat_get_xact_tuples_updated(catalog) + pg_stat_get_xact_tuples_deleted(catalog) END AS now
    FROM asked, unnest('{pg_class, pg_attribute, pg_attrdef, pg_index, pg_constraint, pg_trigger, pg_policy, pg_rewrite,
            pg_statistic_ext, pg_sequence, pg_inherits, pg_foreign_table, pg_partitioned_table, pg_depend,
            pg_description, pg_type, pg_namespace, pg_proc, pg_enum, pg_range, pg_aggregate, pg_cast,
            pg_operator, pg_opclass, pg_opfamily, pg_amop, pg_amproc, pg_default_acl, pg_publication,
            pg_publication_rel, pg_event_trigger, pg_collation, pg_conversion, pg_am, pg_transform,
            pg_ts_config, pg_ts_config_map, pg_ts_dict, pg_ts_parser, pg_ts_template, pg_foreign_data_wrapper,
            pg_foreign_server, pg_language, pg_db_role_setting, pg_seclabel, pg_tablespace, pg_authid,
            pg_user_mapping, pg_subscription}'::regclass[]) WITH ORDINALITY AS all_of_them (catalog, place)
) counted
