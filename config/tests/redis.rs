//! Every line that reaches a server. Starts its own; says what it skips.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{is_shared, namespace, page, process, works};
use larder::ErrorKind;
use larder::cache::Origin;
use larder_config::StoreConfig;
use larder_testkit::servers::{Binary, Folder, RedisCluster, RedisSentinels, RedisServer, Shared, free_port};

static NODE: Shared<RedisServer> = Shared::new(|| RedisServer::start(&[]));

/// The value of an option, or the end of the test: the binary is missing, and that was said.
macro_rules! or_skip {
    ($found:expr) => {
        match $found {
            Some(found) => found,
            None => return,
        }
    };
}

#[tokio::test]
async fn one_node() {
    let server = or_skip!(NODE.get());
    let url = server.url();
    for (line, origin) in [
        (url.clone(), Origin::Far),
        (format!("{url}/3?codec=postcard&compression=lz4&timeout=2s&connections=1"), Origin::Far),
        (format!("{url}?client=fred&codec=messagepack&connect_timeout=2s&longest_pause=200ms"), Origin::Far),
        (format!("{url}?strict=true&breaker_failures=3&breaker_pause=500ms&codec=bincode"), Origin::Far),
        (format!("tiered:(quick://?max=1000,{url}?timeout=2s)?max_staleness=2s"), Origin::Near),
        (format!("tiered:(moka://?max=1000,{url}?pushes=pubsub&timeout=2s)?max_staleness=2s"), Origin::Near),
    ] {
        assert_eq!(works(&line).await, origin, "{line}");
        is_shared(&line).await;
    }
}

#[tokio::test]
async fn options_do_what_they_say() {
    let server = or_skip!(NODE.get());
    let namespace = namespace();
    let line = format!("{}/5?prefix=staging&codec=postcard&compression=zstd", server.url());
    let process = process(&line, &namespace).await;
    process.cache.get(&page(1)).await.unwrap();
    let held = server.command(&["EXISTS", "nothing"]);
    assert_eq!(held, "0", "database 0 has nothing of it");
    assert!(
        server.command(&["INFO", "keyspace"]).contains("db5:"),
        "{}",
        server.command(&["INFO", "keyspace"])
    );
}

#[tokio::test]
async fn a_password_in_the_line_or_in_the_environment_and_a_socket() {
    let options = ["--requirepass", "s3cret/@(,)", "--unixsocket", "socket"];
    let server = or_skip!(RedisServer::start(&options));
    let address = format!("127.0.0.1:{}", server.port());
    let encoded = "s3cret%2F%40%28%2C%29";
    for line in [
        format!("redis://:{encoded}@{address}"),
        format!("redis://default:{encoded}@{address}/3?client=fred"),
        format!("redis+unix://{}?pass={encoded}&db=2", server.socket()),
        format!("tiered:(quick://,redis://:{encoded}@{address})"),
    ] {
        works(&line).await;
        let config: StoreConfig = line.parse().unwrap();
        let store = config.connect().await.unwrap();
        assert!(!format!("{config} {config:?} {store:?}").contains("s3cret"), "{store:?}");
    }
    // the server refuses who does not know it, and nobody is told it
    for line in [format!("redis://:s3cret@{address}"), format!("redis://{address}")] {
        let error = line.parse::<StoreConfig>().unwrap().connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let told = format!("{error} {error:?}");
        assert!(told.contains("is the password right") && !told.contains("s3cret"), "{told}");
    }
    // another process, since setting a variable here is unsafe
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "in_an_environment_with_a_password", "--nocapture"]);
    command.env("LARDER_TEST_ADDRESS", &address).env("LARDER_TEST_SOCKET", server.socket());
    command.env("LARDER_TEST_KEYS", format!("1:{}", "0f".repeat(32)));
    let output = command.env("LARDER_TEST_PASSWORD", "s3cret/@(,)").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("the password was taken"), "{told}");
}

#[tokio::test]
async fn in_an_environment_with_a_password() {
    let Ok(address) = std::env::var("LARDER_TEST_ADDRESS") else { return };
    let socket = std::env::var("LARDER_TEST_SOCKET").unwrap();
    for line in [
        format!("redis://{address}?password_env=LARDER_TEST_PASSWORD"),
        format!("redis://default@{address}/1?password_env=LARDER_TEST_PASSWORD&client=fred"),
        format!("redis+unix://{socket}?password_env=LARDER_TEST_PASSWORD&db=1"),
        format!(
            "redis://{address}?password_env=LARDER_TEST_PASSWORD&keys_env=LARDER_TEST_KEYS&compression=zstd"
        ),
        format!(
            "tiered:(quick://,redis://{address}?password_env=LARDER_TEST_PASSWORD&keys_env=LARDER_TEST_KEYS)"
        ),
    ] {
        works(&line).await;
    }
    let unset = format!("redis://{address}?password_env=LARDER_TEST_NO_SUCH_PASSWORD");
    let error = unset.parse::<StoreConfig>().unwrap().connect().await.unwrap_err().to_string();
    assert!(error.contains(
        "LARDER_TEST_NO_SUCH_PASSWORD, which `password_env` names, holds no password: it is not set"
    ));
    println!("the password was taken");
}

#[tokio::test]
async fn a_cluster() {
    let cluster = or_skip!(RedisCluster::start());
    for (line, origin) in [
        (format!("{}?timeout=2s", cluster.url()), Origin::Far),
        (
            format!(
                "tiered:(quick://?max=1000,{}?codec=postcard&timeout=2s)?max_staleness=2s",
                cluster.url()
            ),
            Origin::Near,
        ),
    ] {
        assert_eq!(works(&line).await, origin, "{line}");
        is_shared(&line).await;
    }
    let line = format!("{}?pushes=pubsub", cluster.url());
    let error = line.parse::<StoreConfig>().unwrap().connect().await.unwrap_err().to_string();
    assert!(error.contains("a cluster tells of changes by tracking"), "{error}");
}

#[tokio::test]
async fn sentinels() {
    let sentinels = or_skip!(RedisSentinels::start());
    for (line, origin) in [
        (format!("{}/2?timeout=2s", sentinels.url()), Origin::Far),
        (
            format!("tiered:(moka://?max=1000,{}?strict=true&timeout=2s)?max_staleness=2s", sentinels.url()),
            Origin::Near,
        ),
    ] {
        assert_eq!(works(&line).await, origin, "{line}");
        is_shared(&line).await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_no_error_and_one_that_cannot_be_is() {
    let away = format!("redis://127.0.0.1:{}?timeout=100ms&connect_timeout=100ms", free_port());
    let process = process(&away, "page").await;
    assert!(process.cache.get(&page(1)).await.unwrap().is_some(), "the source answers");
    for (line, mend) in [
        ("redis://h/first", "write a number"),
        ("redis://a,b", "redis-cluster://"),
        ("redis-cluster://a/3", "only database 0"),
        ("redis-sentinel://a,b", "sentinels need the name of their service"),
    ] {
        let error = line.parse::<StoreConfig>().unwrap().connect().await.unwrap_err().to_string();
        assert!(error.contains(mend), "{line}: {error}");
    }
}

fn openssl(binary: &Binary, folder: &Path, arguments: &str) {
    let made = binary.command().current_dir(folder).args(arguments.split(' ')).status();
    assert!(made.unwrap().success(), "openssl {arguments}");
}

#[tokio::test]
async fn tls() {
    let binary = or_skip!(Binary::find("openssl"));
    let folder = Folder::new("config-tls");
    let make = |arguments: &str| openssl(&binary, folder.path(), arguments);
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
    // another process, since what the system trusts is read from its environment
    let mut trusting = Command::new(std::env::current_exe().unwrap());
    trusting.args(["--exact", "in_a_process_that_trusts_it", "--nocapture"]);
    trusting
        .env("SSL_CERT_FILE", file("ca.crt"))
        .env("LARDER_TEST_TLS", format!("rediss://127.0.0.1:{port}"));
    let output = trusting.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("served over TLS"), "{told}");
}

#[tokio::test]
async fn in_a_process_that_trusts_it() {
    let Ok(url) = std::env::var("LARDER_TEST_TLS") else { return };
    assert_eq!(works(&url).await, Origin::Far);
    assert_eq!(works(&format!("tiered:(quick://,{url}?client=fred)")).await, Origin::Near);
    println!("served over TLS");
}

/// A server that does not know `HELLO` repeats its arguments.
#[tokio::test]
async fn what_a_server_says_to_a_login_is_in_no_error() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let said = b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 's3cret'\r\n";
    let peer = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 1_024];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    _ = stream.write_all(said).await;
                }
            });
        }
    });
    for line in [
        format!("redis://:s3cret@{address}"),
        format!("redis://:s3cret@{address}?client=fred"),
        format!("tiered:(quick://,redis://:s3cret@{address})"),
        format!("redis://:s3cret@{address}/s3cret"),
        format!("redis://:s3cret@{address}:s3cret"),
        "redis+unix:///run/none.sock?pass=s3cret&db=s3cret".to_owned(),
    ] {
        let error = line.parse::<StoreConfig>().unwrap().connect().await.unwrap_err();
        let mut shown = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            shown += &format!(" {error} {error:?}");
            cause = error.source();
        }
        assert!(!shown.contains("s3cret"), "{line}: {shown}");
    }
    peer.abort();
}
