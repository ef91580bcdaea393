//! From the first connection to the last answer.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::App;

/// The maximum time of requests under way once the service is to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `stop` is ready; then takes no new connection, lets the requests under way end, lets the caches end their loads and
/// deliver what invalidations they owe, and closes the database. In this order: each may need the next.
///
/// # Errors
/// The listener's; requests that did not end within 10 s; invalidations that were never acknowledged.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stopping = std::sync::Arc::new(Notify::new());
    let told = std::sync::Arc::clone(&stopping);
    let serving = axum::serve(listener, app.router()).with_graceful_shutdown(async move {
        stop.await;
        told.notify_one();
    });
    let late = async {
        stopping.notified().await;
        tokio::time::sleep(DRAIN).await;
    };
    let drained: Result<(), Box<dyn std::error::Error + Send + Sync>> = tokio::select! {
        served = async { serving.await } => served.map_err(Into::into),
        () = late => Err(format!("requests were still under way after {DRAIN:?}").into()),
    };
    let settled = tokio::join!(app.products.cache().shutdown(), app.summaries.cache().shutdown());
    app.shop.close().await;
    drained?;
    settled.0?;
    Ok(settled.1?)
}
