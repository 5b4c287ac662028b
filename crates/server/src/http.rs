//! A small HTTP port for those who watch: `/livez`, `/readyz` and Prometheus' `/metrics`. It reads what the core has
//! published, and never asks the core.

use crate::{Shared, denials};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tegata_model::Code;
use tegata_node::{BreakerState, Cause};
use tegata_sync::Mark;
use tokio::task::JoinHandle;

/// Watchers at once. One more, and the oldest goes: whoever never reads what it asked for must not keep the others out.
const CONNECTIONS_MAX: usize = 64;
/// A watcher that has not sent its request by then is let go.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Names of [`tegata_model::Class`], in its order, as labels.
const CLASSES: [&str; 6] = ["approved", "declined", "suspected", "not_executed", "unknown", "refused"];

/// Serves until the server has stopped.
pub(crate) fn run(listener: TcpListener, shared: Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener can be watched");
        let mut watchers = VecDeque::new();
        let ended = Arc::clone(&shared);
        let serve = async {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                watchers.retain(|watcher: &JoinHandle<()>| !watcher.is_finished());
                if watchers.len() == CONNECTIONS_MAX
                    && let Some(oldest) = watchers.pop_front()
                {
                    oldest.abort();
                }
                let shared = Arc::clone(&shared);
                watchers.push_back(tokio::task::spawn_local(async move {
                    let service = service_fn(|request| std::future::ready(answer(&request, &shared)));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(REQUEST_WAIT)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                }));
            }
        };
        tokio::select! {
            () = serve => {}
            () = ended.ended.notified() => {}
        }
    });
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Infallible> {
    let failed = shared.failed.load(Ordering::Acquire);
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/livez") if failed => {
            (StatusCode::SERVICE_UNAVAILABLE, "the journal failed\n".into())
        }
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "live\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") if failed || shared.is_stopping() => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/readyz") => (StatusCode::OK, "ready\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics(shared)),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "livez, readyz or metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    Ok(response)
}

/// In the text format of Prometheus.
fn metrics(shared: &Shared) -> String {
    let facts = shared.facts.lock().map_or_else(|_| Default::default(), |f| *f);
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(out, "# HELP tegata_{name} {help}\n# TYPE tegata_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "tegata_{name}{labels} {value}");
        }
    };
    let classes: Vec<String> = CLASSES.iter().map(|c| format!("{{class=\"{c}\"}}")).collect();
    let answers: Vec<(&str, u64)> = classes.iter().map(String::as_str).zip(facts.answers).collect();
    one("answers_total", "counter", "Answers to commands, by class; repeats included.", &answers);
    one("replayed_total", "counter", "Answers to commands that were decided before.", &[("", facts.replayed)]);
    let codes: Vec<(String, u64)> = (110..)
        .map_while(Code::from_u8)
        .zip(facts.not_executed)
        .map(|(c, n)| (format!("{{code=\"{}\"}}", c.name()), n))
        .collect();
    let codes: Vec<(&str, u64)> = codes.iter().map(|(label, n)| (label.as_str(), *n)).collect();
    one("not_executed_total", "counter", "Commands that were refused and not executed, by code.", &codes);
    let denied: Vec<String> = denials::CODES.iter().map(|c| format!("{{code=\"{}\"}}", c.name())).collect();
    let denied: Vec<(&str, u64)> = denied.iter().map(String::as_str).zip(shared.denials.counts()).collect();
    one("denials_total", "counter", "Requests and hellos that were denied, by code.", &denied);
    let at = |mark| shared.positions.get(mark);
    let positions = [
        ("{mark=\"accepted\"}", at(Mark::Accepted)),
        ("{mark=\"submitted\"}", at(Mark::Submitted)),
        ("{mark=\"durable\"}", at(Mark::Durable)),
        ("{mark=\"applied\"}", at(Mark::Applied)),
        ("{mark=\"acked\"}", at(Mark::Acked)),
    ];
    one("position", "gauge", "Positions in the log.", &positions);
    one("in_flight", "gauge", "Commands accepted and not yet answered.", &[("", facts.in_flight)]);
    one("accounts", "gauge", "Coupons and wallets.", &[("", facts.counts.accounts)]);
    one("lots", "gauge", "Lots beyond the first of a coupon or wallet.", &[("", facts.counts.lots)]);
    one("decisions", "gauge", "Decisions remembered.", &[("", facts.counts.decisions)]);
    let allocations = [("", facts.counts.allocations)];
    one("allocations", "gauge", "Allocations of decisions remembered: what one took from one lot.", &allocations);
    one("table_bytes", "gauge", "Bytes of the engine's tables.", &[("", facts.table_bytes)]);
    let short = [("", facts.shortfall)];
    one("shortfall_yen", "gauge", "Yen that approved advices were short of, of all programmes.", &short);
    let connections = shared.connections.load(Ordering::Relaxed) as u64;
    one("connections", "gauge", "Connections of gateways and operators.", &[("", connections)]);
    one(
        "flush_us",
        "gauge",
        "Median latency of a durable 4 KiB write at the start, in microseconds.",
        &[("", shared.flush_us)],
    );
    let full = [("", facts.room as u64)];
    one("disk_full", "gauge", "1 when only the journal's reserve is left, 2 when that is used up.", &full);
    let mode = u64::from(facts.mode.number());
    one("mode", "gauge", "0 normal, 1 read-only, 2 halted, 3 brownout, 4 probing.", &[("", mode)]);
    let of = |cause: Cause| cause.row().name;
    let labels: Vec<String> = Cause::ALL.iter().map(|c| format!("{{cause=\"{}\"}}", of(*c))).collect();
    let states: Vec<(&str, u64)> =
        labels.iter().map(String::as_str).zip(facts.states.map(|s| u64::from(s as u8))).collect();
    one("breaker_state", "gauge", "0 closed, 1 open, 2 half-open, 3 latched.", &states);
    let levels: Vec<(&str, u64)> = labels.iter().map(String::as_str).zip(facts.levels).collect();
    one("breaker_level", "gauge", "What was measured last, in the cause's unit.", &levels);
    let changes: Vec<(String, u64)> = Cause::ALL
        .iter()
        .flat_map(|c| BreakerState::ALL.map(|s| (c, s)))
        .map(|(c, s)| {
            let label = format!("{{cause=\"{}\",to=\"{}\"}}", of(*c), s.name());
            (label, facts.entered[*c as usize][s as usize])
        })
        .collect();
    let changes: Vec<(&str, u64)> = changes.iter().map(|(label, n)| (label.as_str(), *n)).collect();
    one("breaker_transitions_total", "counter", "Changes of breakers, by where they led.", &changes);
    let lost = shared.events_lost.load(Ordering::Relaxed);
    one("events_lost_total", "counter", "Lines that the file of events lacks.", &[("", lost)]);
    let lost = shared.denials.lost();
    one("denials_lost_total", "counter", "Lines that the file of denials lacks.", &[("", lost)]);
    let failed = u64::from(shared.failed.load(Ordering::Acquire));
    one(
        "journal_failed",
        "gauge",
        "1 when the journal has failed and nothing is acknowledged any more.",
        &[("", failed)],
    );
    let suspect = u64::from(crate::clock::is_suspect());
    one("clock_suspect", "gauge", "1 while the wall clock has stepped and is not followed.", &[("", suspect)]);
    one("uptime_seconds", "gauge", "Since the start.", &[("", shared.started.elapsed().as_secs())]);
    out
}
