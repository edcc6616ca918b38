//! `dbctl mcp`, as an agent speaks with it.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::{Ends, SECRET, planted};
use crate::run::program;

struct Agent {
    _child: Ends,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last: u64,
}

impl Agent {
    fn start(url: &str, arguments: &[&str]) -> Agent {
        let arguments: Vec<&str> = ["mcp"].into_iter().chain(arguments.iter().copied()).collect();
        let mut command = program(&[("DATABASE_URL", url)], &arguments);
        let mut child = Ends(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let (to, from) = (child.0.stdin.take().unwrap(), BufReader::new(child.0.stdout.take().unwrap()));
        let mut agent = Agent { _child: child, to, from, last: 0 };
        let hello = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let info = agent.ask("initialize", &hello);
        assert_eq!(info["result"]["serverInfo"]["name"], "dbctl", "{info}");
        agent.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        agent
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.to, "{message}").unwrap();
        self.to.flush().unwrap();
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params }));
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert!(!line.contains(SECRET), "{line}");
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], self.last);
        answer
    }

    /// What a tool answers: whether it failed, and its text.
    fn call(&mut self, tool: &str, arguments: &Value) -> (bool, String) {
        let answer = self.ask("tools/call", &json!({ "name": tool, "arguments": arguments }));
        let failed = answer["result"]["isError"] == true || answer.get("error").is_some();
        let text =
            answer["result"]["content"][0]["text"].as_str().map_or_else(|| answer.to_string(), str::to_owned);
        (failed, text)
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_agent_gets_tools_that_only_look() {
    let database = planted().await;
    let url = database.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let mut agent = Agent::start(&url, &[]);
        let list = agent.ask("tools/list", &json!({}));
        assert!(!names(&list).contains(&"sql"), "{list}");
        for name in names(&list) {
            let tool =
                list["result"]["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap();
            assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
            let (failed, text) = agent.call(name, &json!({ "rows": 3 }));
            assert!(!failed, "{name}: {text}");
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(!value["sections"].as_array().unwrap().is_empty(), "{name}: {text}");
        }
        let (_, tables) = agent.call("tables", &json!({}));
        assert!(tables.contains("notes"), "{tables}");
        let (failed, _) = agent.call("sql", &json!({ "query": "SELECT 1" }));
        assert!(failed, "nobody allowed it");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn free_sql_is_one_statement_that_reads_and_ends() {
    let database = planted().await;
    let url = database.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let mut agent = Agent::start(&url, &["--allow-sql", "--statement-timeout", "1s"]);
        let (failed, rows) = agent.call("sql", &json!({ "query": "SELECT id FROM notes -- all of them" }));
        assert_eq!((failed, &*rows), (false, r#"{"complete":true,"rows":[{"id":1}]}"#));
        let (_, many) = agent.call("sql", &json!({ "query": "SELECT n FROM generate_series(1, 3000) n;" }));
        let many: Value = serde_json::from_str(&many).unwrap();
        assert_eq!((many["rows"].as_array().unwrap().len(), &many["complete"]), (1_000, &json!(false)));
        for refused in [
            "DELETE FROM notes",
            "WITH gone AS (DELETE FROM notes RETURNING id) SELECT * FROM gone",
            "SELECT 1) AS a; DELETE FROM notes; SELECT * FROM (SELECT 1",
            "SELECT set_config('transaction_read_only', 'off', false)",
            "SELECT pg_sleep(30)",
            "SELECT nextval('nothing')",
            "",
        ] {
            let (failed, text) = agent.call("sql", &json!({ "query": refused }));
            assert!(failed, "{refused}: {text}");
        }
        let (_, left) = agent.call("sql", &json!({ "query": "SELECT count(*) AS n FROM notes" }));
        assert_eq!(left, r#"{"complete":true,"rows":[{"n":1}]}"#);
    })
    .await
    .unwrap();
}
