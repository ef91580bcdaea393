//! The board as a part of an axum service.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Board, PAGE, Refusal, Target};

/// The content security policy: the page loads nothing from other servers, and cannot be shown in a frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The body of `POST api/invalidate`: the cache, and a key or a tag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    cache: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

impl Board {
    /// Returns the page and its endpoints, to be nested under a separate path. Starts to read the numbers (see
    /// [`start`](Self::start)): at once within a tokio runtime, otherwise with the first request.
    ///
    /// | request | answer |
    /// |---|---|
    /// | `GET /` | the page |
    /// | `GET /api/board/{since}` | [`report`](Self::report) |
    /// | `POST api/invalidate` with `Authorization: Bearer <token>` and `{"cache": .., "key": ..}` or `{"cache": .., "tag": ..}` | 204, or the status of a [`Refusal`]: 401 for a wrong token, which is checked before the body |
    ///
    /// # Examples
    /// ```
    /// use larder_metrics::Board;
    /// let service: axum::Router = axum::Router::new().nest("/larder", Board::new().router());
    /// # let _ = service;
    /// ```
    pub fn router<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.start();
        Router::new()
            .route("/", get(page))
            .route("/api/board/{since}", get(report))
            .route("/api/invalidate", post(invalidate))
            .layer(DefaultBodyLimit::max(16 * 1024))
            .with_state(self.clone())
    }
}

async fn page(State(board): State<Board>) -> Response {
    board.start();
    guarded("text/html; charset=utf-8", PAGE)
}

async fn report(State(board): State<Board>, Path(since): Path<u64>) -> Response {
    board.start();
    guarded("application/json", board.report(since))
}

async fn invalidate(State(board): State<Board>, headers: HeaderMap, body: Bytes) -> Response {
    match try_invalidate(&board, &headers, &body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, refusal.to_string()).into_response();
            if status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

async fn try_invalidate(board: &Board, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let token = bearer(headers);
    board.authorize(token)?;
    let request: Request =
        serde_json::from_slice(body).map_err(|error| Refusal::Invalid(format!("the body: {error}")))?;
    let target = match (&request.key, &request.tag) {
        (Some(key), None) => Target::Key(key),
        (None, Some(tag)) => Target::Tag(tag),
        _ => return Err(Refusal::Invalid("give either `key` or `tag`".to_owned())),
    };
    board.invalidate(token, &request.cache, target).await
}

/// Returns the token of a request. A missing one is empty, which is never right.
fn bearer(headers: &HeaderMap) -> &[u8] {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    match given.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        _ => b"",
    }
}

/// Returns an answer that is not stored, whose type is not guessed, and that cannot be framed.
fn guarded(content: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        let name: HeaderName = name;
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
