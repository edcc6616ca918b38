//! Who is connected, what for, and who waits for whom.

use crate::server::record::record;

record! {
    /// A process of the server's. Without `pg_read_all_stats` those of other roles have no state and no
    /// query.
    pub struct Backend: "pg_stat_activity", "@ AS s" {
        pid: i64;
        /// When it started, in seconds since 1970: with the pid it tells one backend from a later one.
        backend_start: Option<f64>, as "date_part('epoch', $)";
        datname: Option<String>;
        usename: Option<String>;
        application_name: Option<String>;
        client_addr: Option<String>, as "host($)";
        backend_type: Option<String>;
        state: Option<String>;
        wait_event_type: Option<String>;
        wait_event: Option<String>;
        /// Since when the transaction is open, in seconds by the server's clock.
        xact_age: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["xact_start"];
        /// Since when the statement runs, or ran if none does, in seconds.
        query_age: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["query_start"];
        /// Since when it is in this state, in seconds.
        state_age: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["state_change"];
        /// How many transactions old the oldest row is that it may still want to see.
        xmin_age: Option<i64>, as "age($)", from ["backend_xmin"];
        query_id: Option<i64>;
        /// The statement in its normal form, without constants.
        query: Option<String>, as "CASE WHEN s.state IS DISTINCT FROM 'idle' THEN $ END";
        /// Who is in its way; 0 is a prepared transaction.
        blocked_by: Vec<i64>, as "CASE WHEN s.wait_event_type = 'Lock' THEN pg_blocking_pids(s.pid) ELSE \
            '{}' END", from [];
    }
}

record! {
    /// How many locks there are of one kind.
    pub struct LockCount: "pg_locks", "(SELECT l.locktype, l.mode, l.granted, d.datname, count(*) AS held \
        FROM @ l \
        LEFT JOIN pg_database d ON d.oid = l.database WHERE l.pid IS DISTINCT FROM pg_backend_pid() GROUP \
        BY 1, 2, 3, 4) AS s" {
        datname: Option<String>, as "s.datname", from [];
        locktype: String;
        mode: String;
        granted: bool;
        count: i64, as "s.held", from [];
    }
}

record! {
    /// A lock that somebody waits for.
    pub struct LockWait: "pg_locks", "@ AS s LEFT JOIN pg_database d ON d.oid = s.database" {
        pid: i64;
        locktype: String;
        mode: String;
        datname: Option<String>, as "d.datname", from [];
        relation: Option<i64>, as "$::int8";
        /// Its name, if it is in the database that was asked.
        relation_name: Option<String>, as "CASE WHEN d.datname = current_database() THEN $::regclass::text \
            END", from ["relation"];
        transactionid: Option<String>, as "$::text";
        /// For how long it waits, in seconds.
        waited: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["waitstart"];
    }
}

record! {
    /// A transaction that was prepared for a two-phase commit, and holds its locks until someone ends it.
    pub struct PreparedTransaction: "pg_prepared_xacts", "@ AS s" {
        gid: String;
        transaction: String, as "$::text";
        datname: Option<String>, from ["database"];
        owner: Option<String>;
        /// For how long it is prepared, in seconds.
        age: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["prepared"];
        /// How many transactions old it is.
        xid_age: Option<i64>, as "age($)", from ["transaction"];
    }
}
