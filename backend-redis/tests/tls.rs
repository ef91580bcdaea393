//! `rediss://`: the certificate is checked against the system's.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{LIBRARIES, namespace, or_skip};
use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, Strategy};
use larder_testkit::servers::{Binary, Folder, RedisServer, free_port};

/// Names the URL for the process that trusts the authority.
const URL: &str = "LARDER_TEST_REDISS_URL";

fn openssl(binary: &Binary, folder: &Path, arguments: &str) {
    let made = binary.command().current_dir(folder).args(arguments.split(' ')).status();
    assert!(made.unwrap().success(), "openssl {arguments}");
}

#[tokio::test]
async fn a_certificate_of_the_system_is_trusted_and_another_is_not() {
    let openssl_binary = or_skip!(Binary::find("openssl"));
    let folder = Folder::new("tls");
    let make = |arguments: &str| openssl(&openssl_binary, folder.path(), arguments);
    make(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=larder-test-authority",
    );
    make("req -newkey rsa:2048 -nodes -keyout own.key -out own.csr -subj /CN=localhost");
    std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    make(
        "x509 -req -in own.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out own.crt -days 2 -extfile names",
    );
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port().to_string();
    let files = [file("own.crt"), file("own.key"), file("ca.crt")];
    let options = ["--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file", &files[0]];
    let more = ["--tls-key-file", &files[1], "--tls-ca-cert-file", &files[2]];
    let _server = or_skip!(RedisServer::start(&[&options[..], &more[..]].concat()));
    let url = format!("rediss://127.0.0.1:{port}");

    // another process, since what the system trusts is read from its environment
    let mut trusting = Command::new(std::env::current_exe().unwrap());
    trusting.args(["--exact", "in_a_process_that_trusts_it", "--nocapture"]);
    let output = trusting.env("SSL_CERT_FILE", file("ca.crt")).env(URL, &url).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("served over TLS"), "{text}");

    // here the authority is unknown: no service, and no crash
    for &library in LIBRARIES {
        let connected = library.config(&url).connect().await;
        if let Ok(redis) = connected {
            assert!(works(&redis).await.is_none(), "{library:?} trusts anybody");
        }
    }
}

async fn works(redis: &larder_redis::RedisBackend) -> Option<()> {
    let cache: Cache<u64, u64> = Cache::builder()
        .namespace(namespace())
        .backend(redis.encoded(Json))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap();
    cache.insert(&7, 70).await.ok()?;
    let found = cache.get_if_present(&7).await.ok()??;
    (found.origin == Origin::Far).then_some(())
}

#[tokio::test]
async fn in_a_process_that_trusts_it() {
    let Ok(url) = std::env::var(URL) else { return };
    for &library in LIBRARIES {
        let redis = library.config(&url).connect().await.unwrap();
        assert!(works(&redis).await.is_some(), "{library:?}: {redis:?}");
    }
    println!("served over TLS");
}
