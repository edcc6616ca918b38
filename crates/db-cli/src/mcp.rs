//! `dbctl mcp`: what reports say, as tools for agents, by the Model Context Protocol on standard input and
//! output.
//!
//! A tool only looks. Statements come without their values, and free SQL is offered only where a person
//! allowed it.

mod sql;

use std::process::ExitCode;
use std::time::Duration;

use db_platform::monitoring::report::Report;
use db_platform::monitoring::server::{Collector, OpenConnection};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};

use crate::args::Options;
use crate::error::CliError;
use crate::observe_args::Mcp;
use crate::watch;

/// So many rows of each table are answered unless more are asked for, and at most.
const ROWS: u64 = 20;
const MOST_ROWS: u64 = 500;

/// The tools: name, what an agent gets, and the sections of a report that this is.
const TOOLS: [(&str, &str, &[&str]); 11] = [
    ("checks", "What is wrong with the server, in plain words, and what is not known.", &["checks"]),
    (
        "connections",
        "Who is connected: by state and application, and the longest transactions.",
        &["connections"],
    ),
    ("locks", "Who waits for whose lock, as a tree, and locks by type and mode.", &["blocking", "locks"]),
    (
        "statements",
        "Which statements take the server's time, from pg_stat_statements, without values.",
        &["statements"],
    ),
    (
        "indexes",
        "Indexes that nobody scans or that are invalid, and tables that are read from end to end.",
        &["indexes"],
    ),
    (
        "tables",
        "Sizes of databases, tables and their indexes, and dead rows with the last vacuum.",
        &["sizes", "vacuum", "bloat"],
    ),
    (
        "transactions",
        "Commits, rollbacks, rows and the buffer hit ratio of each database.",
        &["transactions", "hit_ratio"],
    ),
    (
        "replication",
        "Standbys and how far they are, slots and what they hold back, the archive.",
        &["replication", "receiver", "slots", "archive"],
    ),
    ("settings", "The server's settings that matter or were changed, without secrets.", &["settings"]),
    (
        "server",
        "Which server it is, its extensions and sequences, and what is under way.",
        &["server", "extensions"],
    ),
    ("report", "Everything of the other tools at once.", &[]),
];
const SQL: &str = "sql";

pub(crate) async fn run(command: Mcp, options: &Options) -> Result<ExitCode, CliError> {
    let tools = Tools {
        collector: watch::collector(options, false, None)?,
        open: watch::open(options)?,
        allow_sql: command.allow_sql,
        statement_timeout: command.statement_timeout,
    };
    let failed =
        |error: &dyn std::fmt::Display| CliError::Dashboard(format!("the agent cannot be answered: {error}"));
    let running = tools.serve(rmcp::transport::stdio()).await.map_err(|error| failed(&error))?;
    running.waiting().await.map_err(|error| failed(&error))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone)]
struct Tools {
    collector: Collector,
    open: OpenConnection,
    allow_sql: bool,
    statement_timeout: Duration,
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("dbctl", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(
            "Tools that look at one PostgreSQL server and change nothing. What is not known is listed under \
             \"missing\" with the reason: it is not the same as nothing."
                .to_owned(),
        );
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let rows = json!({ "rows": {
            "type": "integer", "minimum": 1, "maximum": MOST_ROWS,
            "description": format!("The most rows of each table; {ROWS} if left out."),
        } });
        let mut tools: Vec<Tool> =
            TOOLS.iter().map(|(name, does, _)| tool(name, does, rows.clone(), &[])).collect();
        if self.allow_sql {
            let query = json!({ "query": { "type": "string", "description": "One SELECT." } });
            let does = "Run one SELECT in a read-only transaction with a timeout; at most 1,000 rows.";
            tools.push(tool(SQL, does, query, &["query"]));
        }
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let answer = match TOOLS.iter().find(|(name, ..)| *name == request.name) {
            Some((.., sections)) => self.look(sections, &arguments).await,
            None if self.allow_sql && request.name == SQL => {
                let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
                sql::select(&self.open, query, self.statement_timeout).await
            }
            None => {
                return Err(ErrorData::invalid_params(format!("there is no tool {:?}", request.name), None));
            }
        };
        let result = match answer {
            Ok(value) => CallToolResult::success(vec![ContentBlock::text(value.to_string())]),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
        };
        Ok(result.into())
    }
}

impl Tools {
    /// The sections of a report, all if none are named.
    async fn look(&self, wanted: &[&str], arguments: &JsonObject) -> Result<Value, String> {
        let rows = arguments.get("rows").and_then(Value::as_u64).unwrap_or(ROWS).clamp(1, MOST_ROWS);
        // Each question of the collector's ends by itself; this is for a server that is lost.
        let collected = tokio::time::timeout(self.statement_timeout * 4, self.collector.collect_once());
        let snapshot = collected.await.map_err(|_| "the server did not answer in time".to_owned())?;
        crate::report::answered(&snapshot).map_err(|error| error.to_string())?;
        let visit = watch::visit(&self.open).await.map_err(|error| error.to_string())?;
        let report = Report::of_visit(&snapshot, &visit, None)
            .at_most(usize::try_from(rows).unwrap_or(usize::MAX))
            .to_json();
        let sections = report["sections"].as_array().into_iter().flatten();
        let chosen: Vec<&Value> = sections
            .filter(|section| {
                let key = section["key"].as_str().unwrap_or_default();
                wanted.is_empty() || wanted.contains(&key)
            })
            .collect();
        Ok(json!({ "at": report["at"], "server": report["server"], "sections": chosen }))
    }
}

fn tool(name: &'static str, does: &'static str, properties: Value, required: &[&str]) -> Tool {
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    Tool::new(name, does, schema)
        .with_annotations(ToolAnnotations::new().read_only(true).destructive(false).open_world(false))
}
