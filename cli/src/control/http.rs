//! Metrics over HTTP, for Prometheus and for health checks.
//!
//! `GET /metrics` gives the OpenMetrics text, `GET /health` says `ok` while the node's thread
//! lives. Anything else is refused. Served by `hyper` inside the control plane's runtime.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use shoal_core::metrics::MEDIA_TYPE;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{Clients, Server};
use crate::host::Host;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may last, however busy: scrapers connect again.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// The largest head of a request, in bytes; hyper takes no smaller one.
const HEAD_SIZE_MAX: usize = 8_192;

/// Serves for ever.
pub async fn serve(server: Server, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let clients = Clients::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // One too many is closed at once: there is no telling what it would have asked.
        let Some(place) = clients.admit() else { continue };
        let host = server.host.clone();
        spawn_local(async move {
            let _place = place;
            let service = service_fn(|request| {
                let response = respond(&host, &request);
                async { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            builder.max_buf_size(HEAD_SIZE_MAX);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // A client that breaks off has what it wanted.
            let _ = timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
}

fn respond(host: &Host, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut response = Response::new(Full::new(Bytes::from(host.metrics())));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            response
        }
        "/health" if host.node.is_running() => plain(StatusCode::OK, "ok\n"),
        "/health" => plain(StatusCode::SERVICE_UNAVAILABLE, "the node has stopped\n"),
        _ => plain(StatusCode::NOT_FOUND, "try /metrics or /health\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
