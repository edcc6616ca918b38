//! The functions of PostgreSQL's catalogue that run no SQL of their own, in 15 to 19.
//!
//! They are the functions of `pg_catalog` that a user calls, without those that read tables which their
//! arguments name (`query_to_xml`, `table_to_xml`, `ts_stat`), large objects, and what changes the server.

/// Whether a call of `name`, in lower case, touches no table.
pub(crate) fn touches_nothing(name: &str) -> bool {
    FUNCTIONS.binary_search(&name).is_ok()
}

#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "abbrev", "abs", "aclcontains", "acldefault", "aclexplode", "acos", "acosd", "acosh", "age",
    "any_value", "area", "array_agg", "array_append", "array_dims", "array_fill", "array_length",
    "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend", "array_remove",
    "array_replace", "array_reverse", "array_sample", "array_shuffle", "array_sort", "array_to_json",
    "array_to_string", "array_to_tsvector", "array_upper", "ascii", "asin", "asind", "asinh", "atan",
    "atan2", "atan2d", "atand", "atanh", "avg", "bit_and", "bit_count", "bit_length", "bit_or", "bit_xor",
    "bool", "bool_and", "bool_or", "bound_box", "box", "bpchar", "broadcast", "btrim", "bytea",
    "cardinality", "casefold", "cash_words", "cbrt", "ceil", "ceiling", "center", "char_length",
    "character_length", "chr", "cidr", "circle", "clock_timestamp", "col_description", "concat",
    "concat_ws", "convert", "convert_from", "convert_to", "corr", "cos", "cosd", "cosh", "cot", "cotd",
    "count", "covar_pop", "covar_samp", "crc32", "crc32c", "cume_dist", "current_database",
    "current_query", "current_schemas", "current_setting", "currval", "date", "date_add", "date_bin",
    "date_cmp_timestamp", "date_cmp_timestamptz", "date_part", "date_subtract", "date_trunc",
    "datemultirange", "daterange", "decode", "degrees", "dense_rank", "diagonal", "diameter", "div",
    "encode", "enum_first", "enum_last", "enum_range", "erf", "erfc", "error_on_null", "every", "exp",
    "factorial", "family", "first_value", "float4", "float8", "floor", "format", "format_type", "gamma",
    "gcd", "gen_random_uuid", "generate_series", "generate_subscripts", "get_bit", "get_byte",
    "get_current_ts_config", "getdatabaseencoding", "getpgusername", "has_any_column_privilege",
    "has_column_privilege", "has_database_privilege", "has_foreign_data_wrapper_privilege",
    "has_function_privilege", "has_language_privilege", "has_largeobject_privilege",
    "has_parameter_privilege", "has_schema_privilege", "has_sequence_privilege", "has_server_privilege",
    "has_table_privilege", "has_tablespace_privilege", "has_type_privilege", "height", "host", "hostmask",
    "icu_unicode_version", "inet_client_addr", "inet_client_port", "inet_merge", "inet_same_family",
    "inet_server_addr", "inet_server_port", "initcap", "int2", "int4", "int4inc", "int4multirange",
    "int4range", "int8", "int8multirange", "int8range", "is_normalized", "isclosed", "isempty",
    "isfinite", "ishorizontal", "isopen", "isparallel", "isperp", "isvertical", "json_agg",
    "json_agg_strict", "json_array_elements", "json_array_elements_text", "json_array_length",
    "json_build_array", "json_build_object", "json_each", "json_each_text", "json_extract_path",
    "json_extract_path_text", "json_object_agg", "json_object_agg_strict", "json_object_agg_unique",
    "json_object_agg_unique_strict", "json_object_keys", "json_populate_record",
    "json_populate_recordset", "json_strip_nulls", "json_to_record", "json_to_recordset",
    "json_to_tsvector", "json_typeof", "jsonb_agg", "jsonb_agg_strict", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object",
    "jsonb_each", "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_insert",
    "jsonb_object", "jsonb_object_agg", "jsonb_object_agg_strict", "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_exists_tz",
    "jsonb_path_match", "jsonb_path_match_tz", "jsonb_path_query", "jsonb_path_query_array",
    "jsonb_path_query_array_tz", "jsonb_path_query_first", "jsonb_path_query_first_tz",
    "jsonb_path_query_tz", "jsonb_populate_record", "jsonb_populate_record_valid",
    "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls",
    "jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector", "jsonb_typeof", "justify_days",
    "justify_hours", "justify_interval", "lag", "last_value", "lastval", "lcm", "lead", "length",
    "lgamma", "line", "ln", "log", "log10", "lower", "lower_inc", "lower_inf", "lpad", "lseg", "ltrim",
    "macaddr", "macaddr8", "macaddr8_set7bit", "make_date", "make_interval", "make_time",
    "make_timestamp", "make_timestamptz", "makeaclitem", "masklen", "max", "md5", "min", "min_scale",
    "mod", "mode", "money", "multirange", "multirange_minus_multi", "mxid_age", "name", "netmask",
    "network", "nextval", "now", "npoints", "nth_value", "ntile", "num_nonnulls", "num_nulls",
    "numeric_div_trunc", "nummultirange", "numnode", "numrange", "obj_description", "octet_length", "oid",
    "oid8", "parse_ident", "path", "percent_rank", "percentile_cont", "percentile_disc",
    "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
    "pg_backend_pid", "pg_basetype", "pg_blocking_pids", "pg_cancel_backend", "pg_client_encoding",
    "pg_collation_for", "pg_column_compression", "pg_column_size", "pg_conf_load_time",
    "pg_current_snapshot", "pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_lsn",
    "pg_current_xact_id", "pg_current_xact_id_if_assigned", "pg_database_size", "pg_encoding_to_char",
    "pg_export_snapshot", "pg_function_is_visible", "pg_get_constraintdef", "pg_get_expr",
    "pg_get_functiondef", "pg_get_indexdef", "pg_get_keywords", "pg_get_serial_sequence",
    "pg_get_triggerdef", "pg_get_userbyid", "pg_get_viewdef", "pg_has_role", "pg_indexes_size",
    "pg_input_error_info", "pg_input_is_valid", "pg_is_in_recovery", "pg_is_other_temp_schema",
    "pg_is_wal_replay_paused", "pg_last_committed_xact", "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp", "pg_listening_channels",
    "pg_logical_emit_message", "pg_lsn", "pg_my_temp_schema", "pg_notification_queue_usage", "pg_notify",
    "pg_partition_ancestors", "pg_partition_root", "pg_partition_tree", "pg_postmaster_start_time",
    "pg_relation_filenode", "pg_relation_size", "pg_size_bytes", "pg_size_pretty", "pg_sleep",
    "pg_sleep_for", "pg_sleep_until", "pg_snapshot_xip", "pg_snapshot_xmax", "pg_snapshot_xmin",
    "pg_stat_get_activity", "pg_stat_get_snapshot_timestamp", "pg_table_is_visible", "pg_table_size",
    "pg_tablespace_size", "pg_terminate_backend", "pg_total_relation_size", "pg_trigger_depth",
    "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared", "pg_type_is_visible", "pg_typeof", "pg_visible_in_snapshot",
    "pg_wal_lsn_diff", "pg_walfile_name", "pg_walfile_name_offset", "pg_xact_commit_timestamp",
    "pg_xact_commit_timestamp_origin", "pg_xact_status", "phraseto_tsquery", "pi", "plainto_tsquery",
    "point", "polygon", "pow", "power", "querytree", "quote_ident", "quote_literal", "quote_nullable",
    "radians", "radius", "random", "random_normal", "range_agg", "range_intersect_agg", "range_merge",
    "range_minus_multi", "rank", "regclass", "regexp_count", "regexp_instr", "regexp_like",
    "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table",
    "regexp_substr", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope",
    "regr_sxx", "regr_sxy", "regr_syy", "repeat", "replace", "reverse", "round", "row_number",
    "row_security_active", "row_to_json", "rpad", "rtrim", "scale", "set_bit", "set_byte", "set_config",
    "set_masklen", "setseed", "setval", "setweight", "sha224", "sha256", "sha384", "sha512",
    "shobj_description", "sign", "similar_to_escape", "sin", "sind", "sinh", "slope", "split_part",
    "sqrt", "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
    "string_to_table", "strip", "strpos", "substr", "sum", "tan", "tand", "tanh", "text", "timeofday",
    "timestamp_cmp_date", "timestamp_cmp_timestamptz", "timestamptz", "timestamptz_cmp_date",
    "timestamptz_cmp_timestamp", "timetz", "timezone", "to_ascii", "to_bin", "to_char", "to_date",
    "to_hex", "to_json", "to_jsonb", "to_number", "to_oct", "to_regclass", "to_regcollation",
    "to_regdatabase", "to_regnamespace", "to_regoper", "to_regoperator", "to_regproc", "to_regprocedure",
    "to_regrole", "to_regtype", "to_regtypemod", "to_timestamp", "to_tsquery", "to_tsvector",
    "transaction_timestamp", "translate", "trim_array", "trim_scale", "trunc", "ts_debug", "ts_delete",
    "ts_filter", "ts_headline", "ts_lexize", "ts_parse", "ts_rank", "ts_rank_cd", "ts_token_type",
    "tsmultirange", "tsquery_phrase", "tsrange", "tstzmultirange", "tstzrange", "tsvector_to_array",
    "txid_current", "txid_current_if_assigned", "txid_current_snapshot", "txid_snapshot_xip",
    "txid_snapshot_xmax", "txid_snapshot_xmin", "txid_status", "txid_visible_in_snapshot",
    "unicode_assigned", "unicode_version", "unistr", "unnest", "upper", "upper_inc", "upper_inf", "uuid",
    "uuid_extract_timestamp", "uuid_extract_version", "uuidv4", "uuidv7", "var_pop", "var_samp", "varbit",
    "variance", "version", "websearch_to_tsquery", "width", "width_bucket", "xid", "xml",
    "xml_is_well_formed", "xml_is_well_formed_content", "xml_is_well_formed_document", "xmlagg",
    "xmlcomment", "xmltext", "xmlvalidate", "xpath", "xpath_exists",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_holds_nothing_that_reads_tables() {
        assert!(FUNCTIONS.is_sorted());
        assert!(touches_nothing("lower") && touches_nothing("jsonb_array_elements"));
        assert!(
            !touches_nothing("query_to_xml")
                && !touches_nothing("table_to_xml")
                && !touches_nothing("ts_stat")
        );
    }
}
