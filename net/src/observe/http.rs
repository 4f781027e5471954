//! The answers over HTTP/1.1 (RFC 9112), one a connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Observed, figure};

/// Connections answered at once; others wait.
const CONNECTIONS_MAX: usize = 8;
/// How long an asker may take for its question.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(15);
/// After an error of accepting, most often too many open files.
const PAUSE: Duration = Duration::from_millis(100);

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers as long as it lives.
pub(super) async fn serve(listener: TcpListener, machine: Arc<impl Observed>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let machine = Arc::clone(&machine);
        tokio::spawn(async move {
            let answer =
                service_fn(async |request| Ok::<_, Infallible>(answer(&*machine, &request)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(QUESTION_TIME_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Whoever asked may be gone.
            let _ = tokio::time::timeout(CONNECTION_TIME_MAX, connection).await;
            drop(place);
        });
    }
}

fn answer(machine: &impl Observed, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, OPENMETRICS, figure::to_text(machine.figures())),
        "/livez" => plain(StatusCode::OK, "ok\n".into()),
        "/readyz" => match machine.hindrance() {
            None => plain(StatusCode::OK, "ok\n".into()),
            Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n".into()),
    }
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    text(status, PLAIN, body)
}

fn text(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
