//! Statements made at random that use every kind of node that hangs somewhere else than it runs.

/// Numbers from a seed, so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

pub(crate) const SCHEMA: [&str; 9] = [
    "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL, v int NOT NULL, t text)",
    "CREATE TABLE b (id int PRIMARY KEY, v int NOT NULL, t text)",
    "CREATE TABLE p (id int NOT NULL, v int NOT NULL) PARTITION BY RANGE (id)",
    "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (4000)",
    "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (4000) TO (9000)",
    "INSERT INTO a SELECT i, i % 900, i % 50, 'a' || i FROM generate_series(1, 8000) i",
    "INSERT INTO b SELECT i, i % 30, 'b' || i FROM generate_series(1, 900) i",
    "INSERT INTO p SELECT i, i % 70 FROM generate_series(1, 8000) i",
    "CREATE INDEX ON a (b); CREATE INDEX ON p (v); ANALYZE",
];

/// Settings that change which nodes the planner takes.
pub(crate) fn settings(random: &mut Random) -> Vec<String> {
    let mut settings = vec![format!("work_mem = '{}'", random.one(&["64kB", "4MB", "64MB"]))];
    for name in ["hashjoin", "mergejoin", "nestloop", "memoize", "material", "hashagg", "seqscan", "sort"] {
        if random.below(4) == 0 {
            settings.push(format!("enable_{name} = off"));
        }
    }
    if random.below(2) == 0 {
        settings.extend(
            ["parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"]
                .map(str::to_owned),
        );
    }
    settings
}

/// A statement.
pub(crate) fn statement(random: &mut Random) -> String {
    let condition = random.one(&[
        "true",
        "a.v < 10",
        "a.v > (SELECT avg(v) FROM b)",
        "a.b IN (SELECT id FROM b WHERE v < 5)",
        "a.b NOT IN (SELECT id FROM b WHERE v < 5)",
        "EXISTS (SELECT FROM b x WHERE x.id = a.b AND x.v = a.v)",
        "(a.v < 3 OR a.id IN (SELECT id FROM p WHERE v = 1))",
        "a.id = ANY (ARRAY(SELECT id FROM p WHERE v = 3))",
        "a.v = (SELECT max(x.v) FROM b x WHERE x.id = a.b)",
        "a.v > (SELECT min(s) FROM (SELECT sum(v) - 500 AS s FROM p GROUP BY v) q)",
    ]);
    let with = "WITH c AS MATERIALIZED (SELECT b, count(*) AS n FROM a GROUP BY b), d AS MATERIALIZED (SELECT * FROM c WHERE n > 1)";
    match random.below(12) {
        0 => format!("SELECT a.* FROM a JOIN b ON a.b = b.id WHERE {condition} ORDER BY a.t LIMIT 7"),
        1 => format!("SELECT count(*) FROM a LEFT JOIN p ON p.id = a.id WHERE {condition}"),
        2 => format!("{with} SELECT count(*) FROM a JOIN c ON c.b = a.b JOIN c e ON e.b = c.n WHERE {condition}"),
        3 => format!("{with} SELECT * FROM d JOIN a ON a.id = d.b WHERE {condition} AND d.n > (SELECT min(n) FROM c)"),
        4 => format!("SELECT a.id, (SELECT count(*) FROM p WHERE p.v = a.v) FROM a WHERE {condition} LIMIT 40"),
        5 => format!("SELECT v, count(*) FROM (SELECT v FROM a WHERE {condition} UNION ALL SELECT v FROM p) u GROUP BY v"),
        6 => "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 300) SELECT count(*) FROM r JOIN b ON b.id = r.n"
            .to_owned(),
        7 => format!("UPDATE a SET v = v + 1 WHERE {condition}"),
        8 => format!("WITH x AS (UPDATE a SET v = 0 WHERE {condition} RETURNING id) SELECT count(*) FROM b"),
        9 => format!("SELECT * FROM a, LATERAL (SELECT p.v FROM p WHERE p.id = a.b ORDER BY p.v LIMIT 1) l WHERE {condition}"),
        10 => format!("SELECT id, sum(v) OVER (PARTITION BY b ORDER BY id) FROM a WHERE {condition}"),
        _ => format!("SELECT v FROM a WHERE {condition} EXCEPT SELECT v FROM p WHERE id < 500"),
    }
}
