//! The live page in a real browser: what it draws, and that a key can be invalidated from it. Skipped, and said so, where there is no
//! Chromium.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use axum::response::Response;
use common::{TOKEN, board, products, serve};
use larder_metrics::PAGE;

/// Waits for the page to be drawn, tries a wrong token and the right one, and notes what the page said.
const CLICKS: &str = r##"<script>
(async () => {
  const until = test => new Promise(done => { const timer = setInterval(() => { if (test()) { clearInterval(timer); done(); } }, 50); });
  await until(() => document.querySelector("#hot tbody button"));
  // the other cache, and back
  document.querySelector("#caches tbody tr:nth-child(2) button").click();
  document.body.dataset.other = document.querySelector("#hot tbody").textContent;
  document.querySelector("#caches tbody tr:nth-child(1) button").click();
  document.querySelector("#hot tbody button").click();
  for (const [name, token] of [["wrong", "0123456789abcdef-wrong"], ["right", "RIGHT"]]) {
    $("said").textContent = "";
    $("token").value = token;
    $("form").requestSubmit();
    await until(() => $("said").textContent);
    document.body.dataset[name] = $("said").textContent;
  }
  document.body.dataset.target = $("target").value;
})();
</script>"##;

fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    found.into_iter().find(|path| path.is_file())
}

/// The page after its scripts ran for a while.
fn dom(address: SocketAddr, path: &str) -> Option<String> {
    let Some(chromium) = chromium() else {
        println!(
            "skipped: there is no Chromium on this machine, so the live page is not looked at in a browser"
        );
        return None;
    };
    let profile = tempfile::tempdir().unwrap();
    // `timeout` ends a browser that hangs
    let output = Command::new("timeout")
        .arg("120")
        .arg(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1280,900", "--virtual-time-budget=8000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}{path}"))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dom.contains("</html>"), "{} said nothing: {}", path, output.status);
    Some(dom)
}

/// Returns the value of a `data-` attribute of the body.
fn noted(dom: &str, name: &str) -> String {
    let (_, after) = dom.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no {name}: {dom}"));
    after.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_draws_what_happens_and_invalidates() {
    let products = products();
    let (board, other) = (board(&products), common::products());
    board.add("other", &other);
    let clicking = board.router::<()>().layer(map_response(|response: Response| async {
        let (head, body) = response.into_parts();
        let is_page = head.headers.get("content-type").is_some_and(|kind| kind == "text/html; charset=utf-8");
        let clicks = CLICKS.replace("RIGHT", TOKEN);
        let body =
            if is_page { Body::from(PAGE.replace("</body>", &format!("{clicks}</body>"))) } else { body };
        let mut head = head;
        head.headers.remove("content-length");
        Response::from_parts(head, body)
    }));
    let service = Router::new().nest("/larder", board.router()).nest("/clicking", clicking);
    let address = serve(service).await;
    for id in [7, 7, 7, 8, 13] {
        _ = products.get(&id).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let look = |path: &'static str| tokio::task::spawn_blocking(move || dom(address, path));

    let Some(dom) = look("/larder").await.unwrap() else { return };
    assert!(dom.contains(r#"data-state="live""#), "{dom}");
    assert_eq!(dom.matches(r#"<svg viewBox"#).count(), 6, "six charts");
    assert!(
        dom.matches("<polygon").count() + dom.matches("<path d=\"M").count() >= 3,
        "lines are drawn: {dom}"
    );
    for shown in ["Hit rate", "not read here before", "<code>7</code>", "no luck", "category:2", "first read"]
    {
        assert!(dom.contains(shown), "{shown} is not in {dom}");
    }
    assert_eq!(products.stats().invalidations, 0, "to look changes nothing");

    let clicked = look("/clicking").await.unwrap().unwrap();
    assert_eq!(
        (noted(&clicked, "other").as_str(), noted(&clicked, "target").as_str()),
        ("no reads yet", "7")
    );
    assert!(noted(&clicked, "wrong").contains("token is wrong"), "{}", noted(&clicked, "wrong"));
    assert!(noted(&clicked, "right").contains("is invalidated"), "{}", noted(&clicked, "right"));
    assert_eq!(products.stats().invalidations, 1);
    assert!(products.cache().get_local(&7).is_none() && products.cache().get_local(&8).is_some());
}
