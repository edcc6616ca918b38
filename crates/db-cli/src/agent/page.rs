//! Metrics and the state of the jobs, on a port of the agent's own; nothing of it waits for a database or a
//! store.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use db_platform::monitoring::server::Collector;
use db_platform::notify::{ChannelStatus, Notifier};
use db_platform::schedule::JobStatus;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::exposition::{Exposition, float, unix};
use super::figures::Figures;
use super::ground::Ground;
use crate::error::CliError;

/// A client that sends its request more slowly is turned away.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// After an error, a pause: without one the loop would spin.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// So many clients are answered at once.
const MOST_CLIENTS: usize = 32;

/// What the page shows.
struct Seen<W> {
    watch: W,
    notifier: Notifier,
    figures: Arc<Figures>,
    collector: Option<Collector>,
}

/// Ends the page when it is dropped.
pub(super) struct Page(JoinHandle<()>);

impl Drop for Page {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn serve(
    address: SocketAddr,
    watch: impl Fn() -> Vec<JobStatus> + Send + Sync + 'static,
    notifier: Notifier,
    ground: &Ground,
    collector: Option<Collector>,
) -> Result<Page, CliError> {
    let listener =
        TcpListener::bind(address).await.map_err(|source| CliError::Metrics { address, source })?;
    if let Ok(bound) = listener.local_addr() {
        eprintln!("dbctl: metrics on http://{bound}/metrics");
    }
    let seen = Arc::new(Seen { watch, notifier, figures: Arc::clone(&ground.figures), collector });
    Ok(Page(tokio::spawn(async move {
        let mut clients = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, say: it passes.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            while clients.len() >= MOST_CLIENTS {
                clients.join_next().await;
            }
            let seen = Arc::clone(&seen);
            clients.spawn(async move {
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let answer = seen.answer(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST_WITHIN)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away is no fault of ours.
                let _ = connection.await;
            });
        }
    })))
}

impl<W: Fn() -> Vec<JobStatus>> Seen<W> {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, text) = match path {
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4", self.metrics()),
            "/jobs" => (StatusCode::OK, "application/json", self.jobs().to_string()),
            "/live" => (StatusCode::OK, "text/plain", "alive\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "text/plain", "try /metrics, /jobs or /live\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        if let Ok(kind) = kind.parse() {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        response
    }

    fn metrics(&self) -> String {
        let mut text = Exposition::default();
        jobs(&mut text, &(self.watch)());
        channels(&mut text, &self.notifier.status());
        self.figures.write(&mut text);
        if let Some(collector) = &self.collector {
            text.append(&collector.metrics_text());
        }
        text.into_text()
    }

    fn jobs(&self) -> Value {
        let jobs: Vec<Value> = (self.watch)()
            .iter()
            .map(|job| {
                json!({
                    "job": job.name,
                    "next": job.next,
                    "running_since": job.running_since,
                    "waiting": job.waiting,
                    "last_success": job.last_success,
                    "last_end": job.last.as_ref().map(|(at, ..)| at),
                    "last_outcome": job.last.as_ref().map(|(_, _, outcome)| outcome.to_string()),
                    "overdue": job.is_overdue,
                })
            })
            .collect();
        json!({ "jobs": jobs })
    }
}

fn jobs(text: &mut Exposition, jobs: &[JobStatus]) {
    let of = |figure: fn(&JobStatus) -> Option<f64>| {
        let samples = jobs.iter().filter_map(move |job| Some((job.name.clone(), figure(job)?)));
        samples.collect::<Vec<_>>()
    };
    let gauge = |name, help| (name, help, "gauge");
    let counter = |name, help| (name, help, "counter");
    text.family(
        gauge("db_schedule_job_last_success_timestamp_seconds", "When the job last succeeded."),
        "job",
        of(|job| job.last_success.map(unix)),
    );
    text.family(
        gauge("db_schedule_job_last_duration_seconds", "How long its last run took."),
        "job",
        of(|job| job.last.as_ref().map(|(_, elapsed, _)| elapsed.as_secs_f64())),
    );
    text.family(
        gauge("db_schedule_job_next_timestamp_seconds", "When it is due next."),
        "job",
        of(|job| job.next.map(unix)),
    );
    text.family(
        gauge("db_schedule_job_running", "Whether it runs."),
        "job",
        of(|job| Some(f64::from(u8::from(job.running_since.is_some())))),
    );
    text.family(
        gauge("db_schedule_job_waiting", "Whether it waits for another host."),
        "job",
        of(|job| Some(f64::from(u8::from(job.waiting.is_some())))),
    );
    text.family(
        gauge("db_schedule_job_overdue", "Whether it has not succeeded for longer than expected."),
        "job",
        of(|job| Some(f64::from(u8::from(job.is_overdue)))),
    );
    text.family(
        counter("db_schedule_job_successes_total", "Runs that succeeded."),
        "job",
        of(|job| Some(float(job.successes))),
    );
    text.family(
        counter("db_schedule_job_failures_total", "Runs that ended in any other way."),
        "job",
        of(|job| Some(float(job.failures))),
    );
    text.family(
        counter("db_schedule_job_missed_total", "Due times that passed without a run."),
        "job",
        of(|job| Some(float(job.missed))),
    );
}

fn channels(text: &mut Exposition, channels: &[ChannelStatus]) {
    let of = |figure: fn(&ChannelStatus) -> Option<f64>| {
        let samples = channels.iter().filter_map(move |one| Some((one.name.clone(), figure(one)?)));
        samples.collect::<Vec<_>>()
    };
    text.family(
        ("db_notify_delivered_total", "Messages that came through.", "counter"),
        "channel",
        of(|one| Some(float(one.delivered))),
    );
    text.family(
        ("db_notify_failed_total", "Messages that were given up.", "counter"),
        "channel",
        of(|one| Some(float(one.failed))),
    );
    text.family(
        ("db_notify_dead", "Whether nothing comes through.", "gauge"),
        "channel",
        of(|one| Some(f64::from(u8::from(one.dead_since.is_some())))),
    );
    text.family(
        ("db_notify_last_delivered_timestamp_seconds", "When the last message came through.", "gauge"),
        "channel",
        of(|one| one.last_delivered.map(seconds)),
    );
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
