//! The handlers of the requests.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use larder::{CachedEntry, ErrorKind, Tag};
use larder_metrics::Scrape;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::App;
use crate::headers::told;

pub(crate) fn router(app: &App) -> Router {
    Router::new()
        .route("/products/{id}", get(product))
        .route("/products/{id}", put(reprice))
        .route("/categories/{id}", get(category))
        .route("/categories/{id}/sale", post(sale))
        .route("/metrics", get(metrics))
        .with_state(app.clone())
        .nest("/larder", app.board.router())
}

async fn product(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Failure> {
    Ok(answer(&app.products.get_entry(&id).await?))
}

async fn category(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Failure> {
    Ok(answer(&app.summaries.get_entry(&id).await?))
}

fn answer<V: Serialize>(found: &CachedEntry<V>) -> Response {
    match &found.value {
        Some(value) => (told(found), Json(&**value)).into_response(),
        None => (StatusCode::NOT_FOUND, told(found), "there is no such thing").into_response(),
    }
}

#[derive(Deserialize)]
struct Price {
    cents: u32,
}

async fn reprice(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(price): Json<Price>,
) -> Result<Response, Failure> {
    // on a task of its own: a client that leaves must not stop it between the commit and the invalidation
    let work = tokio::spawn(async move {
        let product = app.shop.reprice(id, price.cents.into()).await?;
        Ok::<_, Failure>(match product {
            None => (StatusCode::NOT_FOUND, "there is no such product").into_response(),
            // after the commit, before the answer: who has the answer never reads the old price
            Some(product) => {
                // what was written, and what is made from it
                let done =
                    tokio::join!(app.products.invalidate(&id), app.summaries.invalidate(&product.category));
                (acknowledged([done.0, done.1]), Json(product)).into_response()
            }
        })
    });
    work.await.map_err(|_| Failure(StatusCode::INTERNAL_SERVER_ERROR, "the write was given up".to_owned()))?
}

#[derive(Deserialize)]
struct Sale {
    percent: u8,
}

async fn sale(
    State(app): State<App>,
    Path(category): Path<i64>,
    Json(sale): Json<Sale>,
) -> Result<Response, Failure> {
    if sale.percent > 100 {
        return Err(Failure(StatusCode::BAD_REQUEST, "nothing is given away with money on top".to_owned()));
    }
    let work = tokio::spawn(async move {
        let written = app.shop.sale(category, sale.percent.into()).await?;
        // one tag for all of them, however many they are
        let tag = Tag::new("category", category);
        let done = tokio::join!(app.products.invalidate_tag(&tag), app.summaries.invalidate(&category));
        let status = acknowledged([done.0, done.1]);
        let written: Vec<_> =
            written.iter().map(|(id, version)| json!({"id": id, "version": version})).collect();
        Ok::<_, Failure>((status, Json(json!({ "written": written }))).into_response())
    });
    work.await.map_err(|_| Failure(StatusCode::INTERNAL_SERVER_ERROR, "the write was given up".to_owned()))?
}

/// Returns the status of a committed write.
///
/// If a shared store did not acknowledge the invalidation, the write is accepted. This process then does not serve
/// the old value; others may until the retries succeed.
fn acknowledged(invalidated: [larder::Result<()>; 2]) -> StatusCode {
    match invalidated.into_iter().collect::<larder::Result<()>>() {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            tracing::warn!(%error, "committed, but other processes may serve the old value for a while");
            StatusCode::ACCEPTED
        }
    }
}

async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, Scrape::CONTENT_TYPE)], app.scrape.text()).into_response()
}

/// The failure of a request.
struct Failure(StatusCode, String);

impl From<larder::Error> for Failure {
    fn from(error: larder::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Closed | ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        tracing::warn!(%error, "a read failed");
        Self(status, "it cannot be read now".to_owned())
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        tracing::warn!(%error, "a write failed");
        Self(StatusCode::BAD_GATEWAY, "it cannot be written now".to_owned())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}
