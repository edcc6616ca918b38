//! Where the log is, who gets it, and who holds it back. Positions are bytes since the log's beginning.

use crate::server::record::record;

record! {
    /// How far this server's log is. On a primary only `current` is known, on a standby the others.
    pub struct ReplicationPosition: "", "(SELECT pg_is_in_recovery() AS r) AS s" {
        in_recovery: bool, as "s.r", from [];
        current: Option<i64>, as "CASE WHEN NOT s.r THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') \
            END", from ["can:pg_current_wal_lsn"];
        received: Option<i64>, as "CASE WHEN s.r THEN pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0') \
            END", from ["can:pg_last_wal_receive_lsn"];
        replayed: Option<i64>, as "CASE WHEN s.r THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') \
            END", from ["can:pg_last_wal_replay_lsn"];
        /// How old the last transaction is that was replayed, in seconds: its time is by the primary's
        /// clock, the rest by ours.
        last_replayed_age: Option<f64>, as "CASE WHEN s.r THEN date_part('epoch', clock_timestamp() - \
            pg_last_xact_replay_timestamp()) END",
            from ["can:pg_last_xact_replay_timestamp"];
        replay_paused: Option<bool>, as "CASE WHEN s.r THEN pg_is_wal_replay_paused() \
            END", from ["can:pg_is_wal_replay_paused"];
    }
}

record! {
    /// A process that sends the log to a standby or a subscriber.
    pub struct Sender: "pg_stat_replication", "@ AS s" {
        pid: i64;
        usename: Option<String>;
        application_name: Option<String>;
        client_addr: Option<String>, as "host($)";
        client_port: Option<i64>;
        state: Option<String>;
        sent: Option<i64>, as "pg_wal_lsn_diff($, '0/0')", from ["sent_lsn"];
        written: Option<i64>, as "pg_wal_lsn_diff($, '0/0')", from ["write_lsn"];
        flushed: Option<i64>, as "pg_wal_lsn_diff($, '0/0')", from ["flush_lsn"];
        replayed: Option<i64>, as "pg_wal_lsn_diff($, '0/0')", from ["replay_lsn"];
        /// In seconds, as the next two: what the server itself measured last.
        write_lag: Option<f64>, as "date_part('epoch', $)";
        flush_lag: Option<f64>, as "date_part('epoch', $)";
        replay_lag: Option<f64>, as "date_part('epoch', $)";
        sync_state: Option<String>;
        xmin_age: Option<i64>, as "age($)", from ["backend_xmin"];
        /// How long ago the standby last said how far it is, in seconds, by the standby's clock.
        reply_age: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["reply_time"];
    }
}

record! {
    /// The process that receives the log on a standby. How it logs in is not read.
    pub struct WalReceiver: "pg_stat_wal_receiver", "@ AS s" {
        pid: Option<i64>;
        status: Option<String>;
        received: Option<i64>, as "pg_wal_lsn_diff($, '0/0')", from ["flushed_lsn"];
        received_tli: Option<i64>;
        /// How far the sender said that its log is.
        latest_end: Option<i64>, as "pg_wal_lsn_diff($, '0/0')", from ["latest_end_lsn"];
        /// How long ago the sender last said something, in seconds, by this server's clock.
        last_message_age: Option<f64>, as "date_part('epoch', clock_timestamp() - \
            $)", from ["last_msg_receipt_time"];
        slot_name: Option<String>;
        sender_host: Option<String>;
        sender_port: Option<i64>;
    }
}

record! {
    /// What somebody keeps the log for.
    pub struct Slot: "pg_replication_slots", "@ AS s" {
        slot_name: String;
        slot_type: Option<String>;
        plugin: Option<String>;
        database: Option<String>;
        temporary: Option<bool>;
        active: Option<bool>;
        active_pid: Option<i64>;
        xmin_age: Option<i64>, as "age($)", from ["xmin"];
        catalog_xmin_age: Option<i64>, as "age($)", from ["catalog_xmin"];
        /// How much of the log it holds, in bytes.
        retained: Option<i64>, as "pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN \
            pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, $)",
            from ["restart_lsn"];
        /// How much of the log a subscriber has not confirmed, in bytes.
        unconfirmed: Option<i64>, as "pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN \
            pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, $)",
            from ["confirmed_flush_lsn"];
        wal_status: Option<String>;
        safe_wal_size: Option<i64>;
        /// Since when nobody uses it, in seconds; from 17 on.
        inactive_age: Option<f64>, as "date_part('epoch', clock_timestamp() - $)", from ["inactive_since"];
        invalidation_reason: Option<String>;
        conflicting: Option<bool>;
        failover: Option<bool>;
        synced: Option<bool>;
    }
}
