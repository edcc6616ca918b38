//! Traces of each kind, and what they are.

use serde_json::{Value, json};

use super::*;

fn label(events: Vec<Value>) -> Label {
    let text = json!([{ "id": "x", "events": events }]).to_string();
    read_traces(&text).unwrap()[0].verdict().label
}

fn event(at: u64, sql: &str, binds: Value) -> Value {
    json!({ "t_ms": at * 3, "scope": "r1", "task": null, "conn": 1, "db": "shop", "sql": sql, "binds": binds,
        "callsite": "src/a.rs:10", "rows": 1, "error": null, "tx": null })
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}

const USER: &str = "SELECT id, name FROM users WHERE id = $1";

fn each(count: u64, make: impl Fn(u64) -> Value) -> Vec<Value> {
    (0..count).map(make).collect()
}

#[test]
fn a_query_for_each_row_is_n_plus_one() {
    assert_eq!(label(each(5, |n| event(n, USER, json!([n])))), Label::NPlusOne);
    assert_eq!(label(each(4, |n| event(n, USER, json!([n])))), Label::Ok);
    // Spread over connections and tasks of one request.
    let joined = each(9, |n| with(with(event(0, USER, json!([n])), "conn", json!(n)), "task", json!(n)));
    assert_eq!(label(joined), Label::NPlusOne);
    // Two statements take turns.
    let two = each(12, |n| {
        let table = if n % 2 == 0 { "users" } else { "items" };
        event(n, &format!("SELECT * FROM {table} WHERE id = $1"), json!([n]))
    });
    assert_eq!(label(two), Label::NPlusOne);
    // Constants in place of parameters, a comment that differs, no call site.
    let bare = each(6, |n| {
        json!({ "t_ms": n, "scope": "r1",
            "sql": format!("SELECT * FROM users /* trace {n}{n} */ WHERE id = {n}") })
    });
    assert_eq!(label(bare), Label::NPlusOne);
    // Counts, locks, the first three of each parent, children of some length.
    for sql in [
        "SELECT count(*) FROM comments WHERE post_id = $1",
        "SELECT * FROM accounts WHERE id = $1 FOR UPDATE",
        "SELECT * FROM comments WHERE post_id = $1 ORDER BY created_at DESC LIMIT 3",
        "SELECT * FROM items WHERE order_id = $1 AND created_at > '2026-01-01' ORDER BY id LIMIT 50",
        "SELECT price_of($1)",
    ] {
        assert_eq!(
            label(each(8, |n| with(event(n, sql, json!([n])), "rows", json!(3)))),
            Label::NPlusOne,
            "{sql}"
        );
    }
    // One of the array each.
    let arrays = each(8, |n| event(n, "SELECT * FROM users WHERE id = ANY($1)", json!([[n]])));
    assert_eq!(label(arrays), Label::NPlusOne);
}

#[test]
fn comments_that_differ_make_no_values_differ() {
    let traced =
        each(6, |n| event(n, &format!("SELECT * FROM users WHERE id = $1 /* trace='{n}' */"), json!([7])));
    assert_eq!(label(traced), Label::Duplicate);
}

#[test]
fn writes_one_by_one_are_a_loop_and_a_batch_is_not() {
    for sql in [
        "INSERT INTO items (order_id, sku) VALUES ($1, $2)",
        "INSERT INTO items (order_id, sku) VALUES ($1, $2) ON CONFLICT (order_id) DO UPDATE SET sku = excluded.sku",
        "UPDATE items SET sku = $1 WHERE id = $2",
        "DELETE FROM items WHERE order_id = $1 AND sku = $2",
    ] {
        let inside = each(25, |n| with(event(n, sql, json!([n, "a"])), "tx", json!(7)));
        assert_eq!(label(inside), Label::LoopWrite, "{sql}");
    }
    let rows = each(8, |n| {
        with(
            event(n, "INSERT INTO t (a) VALUES ($1), ($2), ($3)", json!([n, n + 1, n + 2])),
            "rows",
            json!(3),
        )
    });
    assert_eq!(label(rows), Label::Ok);
    let one = vec![event(1, "INSERT INTO t (a) VALUES ($1), ($2)", json!([1, 2]))];
    assert_eq!(label(one), Label::Ok);
    let chunks = each(6, |n| {
        with(
            event(n, "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT $1)", json!([1000])),
            "rows",
            json!(1000),
        )
    });
    assert_eq!(label(chunks), Label::Ok);
    assert_eq!(label(each(6, |n| event(n, "COPY t FROM STDIN", json!([n])))), Label::Ok);
}

#[test]
fn the_same_query_with_the_same_values_is_a_duplicate() {
    assert_eq!(label(each(6, |n| event(n, USER, json!([7])))), Label::Duplicate);
    assert_eq!(label(each(6, |n| event(n, "SELECT * FROM settings", json!([])))), Label::Duplicate);
    // What it reads is written in between.
    let fresh = (0..12).map(|n| match n % 2 {
        0 => event(n, "SELECT balance FROM accounts WHERE id = $1", json!([1])),
        _ => {
            with(event(n, "UPDATE accounts SET balance = $1 WHERE id = 1", json!([n])), "callsite", json!(n))
        }
    });
    assert_eq!(label(fresh.collect()), Label::Ok);
    // A poll.
    let poll = each(9, |n| event(n * 100, "SELECT state FROM jobs WHERE id = $1", json!([7])));
    assert_eq!(label(poll), Label::Ok);
    let claims = "SELECT id FROM jobs WHERE state = 'new' LIMIT 1 FOR UPDATE SKIP LOCKED";
    assert_eq!(label(each(9, |n| event(n, claims, json!([])))), Label::Ok);
}

#[test]
fn what_steers_the_session_is_quiet() {
    for sql in
        ["BEGIN", "SAVEPOINT a", "SET x = 1", "SELECT 1", "SELECT pg_advisory_lock($1)", "FETCH 10 FROM c"]
    {
        assert_eq!(label(each(20, |n| event(n, sql, json!([n])))), Label::Ok, "{sql}");
    }
    let settings = each(20, |n| event(n, "SELECT set_config('app.tenant', $1, true)", json!([n])));
    assert_eq!(label(settings), Label::Ok);
}

#[test]
fn pages_batches_retries_polls_and_other_scopes_are_quiet() {
    let keyset = "SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT 100";
    let pages = |last: u64| {
        each(8, |n| with(event(n, keyset, json!([n * 100])), "rows", json!(if n == 7 { last } else { 100 })))
    };
    assert_eq!(label(pages(100)), Label::Ok);
    assert_eq!(label(pages(3)), Label::Ok);
    let small = "SELECT * FROM users WHERE (created_at, id) < ($1, $2) AND shop = $3 ORDER BY 1, 2 LIMIT $4";
    let rows = each(8, |n| with(event(n, small, json!([n, n, 5, 20])), "rows", json!(20)));
    assert_eq!(label(rows), Label::Ok);
    let offset = "SELECT * FROM users ORDER BY id LIMIT $1 OFFSET $2";
    assert_eq!(label(each(8, |n| with(event(n, offset, json!([20, n * 20])), "rows", json!(20)))), Label::Ok);
    // The parent changes: no page.
    let children = "SELECT * FROM events WHERE user_id = $1 AND at > $2 ORDER BY at LIMIT 5";
    let of_users = each(8, |n| with(event(n, children, json!([n, n])), "rows", json!(5)));
    assert_eq!(label(of_users), Label::NPlusOne);

    let batches = each(8, |n| {
        with(event(n, "SELECT * FROM users WHERE id = ANY($1)", json!([[n, n + 1, n + 2]])), "rows", json!(3))
    });
    assert_eq!(label(batches), Label::Ok);
    let written =
        each(8, |n| event(n, "SELECT * FROM users WHERE id = ANY($1)", json!([format!("{{{n},1,2}}")])));
    assert_eq!(label(written), Label::Ok);

    let retries = each(8, |n| {
        let failed = if n < 7 { json!("40001") } else { Value::Null };
        with(event(n, USER, json!([7])), "error", failed)
    });
    assert_eq!(label(retries), Label::Ok);
    // A transaction of two statements that is run again until it succeeds.
    let whole = (0..8).flat_map(|n| {
        let tx = |event: Value| with(event, "tx", json!(n));
        let failed = if n < 7 { json!({ "code": "40001" }) } else { Value::Null };
        let update = event(n * 2 + 1, "UPDATE users SET name = $1 WHERE id = 7", json!([n]));
        [tx(event(n * 2, USER, json!([n]))), with(tx(update), "error", failed)]
    });
    assert_eq!(label(whole.collect()), Label::Ok);
    let versions = each(6, |n| {
        let sql = "UPDATE t SET v = $1 WHERE id = $2 AND version = $3";
        with(event(n, sql, json!([1, 7, n])), "rows", json!(u64::from(n == 5)))
    });
    assert_eq!(label(versions), Label::Ok);

    let shards = each(8, |n| with(event(n, USER, json!([n])), "db", json!(format!("shard{n}"))));
    assert_eq!(label(shards), Label::Ok);
    let nowhere = each(8, |n| with(event(n, USER, json!([n])), "scope", Value::Null));
    assert_eq!(label(nowhere), Label::Ok);
    let scopes = each(8, |n| with(event(n, USER, json!([n])), "scope", json!(format!("r{n}"))));
    assert_eq!(label(scopes), Label::Ok);
    let slow = each(8, |n| with(event(n, USER, json!([n])), "t_ms", json!(n * 2500)));
    assert_eq!(label(slow), Label::Ok);
    let lines = each(8, |n| with(event(n, USER, json!([n])), "callsite", json!(format!("src/a.rs:{n}"))));
    assert_eq!(label(lines), Label::Ok);
    let tenants = (0..16).map(|n| match n % 2 {
        0 => event(n, &format!("SET search_path TO tenant_{n}"), json!([])),
        _ => event(n, "SELECT count(*) FROM orders WHERE state = $1", json!(["new"])),
    });
    assert_eq!(label(tenants.collect()), Label::Ok);
}

#[test]
fn a_finding_names_statement_count_line_and_the_way_out_and_no_value() {
    let text = json!([{ "id": 1, "events": each(6, |n| event(n, "SELECT * FROM users WHERE name = 'secret'
        AND id = $1", json!([n]))) }]);
    let verdict = read_traces(&text.to_string()).unwrap()[0].verdict();
    let found = &verdict.findings[0];
    assert_eq!((found.count, found.distinct, found.callsite.as_deref()), (6, 6, Some("src/a.rs:10")));
    assert_eq!(found.statement, "select * from users where name = ? and id = ?");
    assert!(found.instead.contains("eq_any") && found.instead.contains("belonging_to"));
    assert!(!format!("{verdict:?}").contains("secret"));
}

#[test]
fn fields_may_be_absent_and_what_is_no_trace_says_so() {
    assert_eq!(label(vec![json!({}), json!({ "sql": null, "binds": null, "rows": -1 })]), Label::Ok);
    assert!(read_traces("{}").unwrap_err().to_string().starts_with("not a list of traces"));
}
