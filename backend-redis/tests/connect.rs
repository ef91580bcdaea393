//! Ways to reach a server, and what is said when it cannot be reached.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::proxy::Proxy;
use common::{LIBRARIES, Library, namespace, or_skip};
use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, ErrorKind, Strategy, source_fn};
use larder_redis::{RedisBackend, RedisConfig};
use larder_testkit::servers::{Binary, Folder, Process, RedisServer, free_port};

fn cache(redis: &RedisBackend) -> Cache<u64, u64> {
    Cache::builder()
        .namespace(namespace())
        .backend(redis.encoded(Json))
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap()
}

/// Loads, and is served by Redis then.
async fn works(redis: &RedisBackend) {
    let cache = cache(redis);
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Loaded);
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Far, "{redis:?}: {:?}", cache.stats());
}

#[tokio::test]
async fn a_password_a_user_a_database_and_a_socket() {
    for &library in LIBRARIES {
        let options = ["--requirepass", "s3cret/@", "--unixsocket", "socket"];
        let server = or_skip!(RedisServer::start(&options));
        let address = format!("127.0.0.1:{}", server.port());
        for url in [
            format!("redis://:s3cret%2F%40@{address}"),
            format!("redis://default:s3cret%2F%40@{address}/3"),
            format!("redis+unix://{}?pass=s3cret%2F%40", server.socket()),
        ] {
            works(&library.config(&url).connect().await.unwrap()).await;
        }
    }
}

#[tokio::test]
async fn what_no_retry_mends_is_an_error_at_once() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&["--requirepass", "right"]));
        for url in [format!("redis://:wrong@127.0.0.1:{}", server.port()), server.url()] {
            let error = library.config(&url).connect().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{library:?} {url}: {error:?}");
            assert!(error.to_string().contains("is the password right"), "{error}");
            assert!(!format!("{error:?}").contains("wrong@"), "no password in an error: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_no_redis_is_named() {
    for &library in LIBRARIES {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let peer = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    .await
                    .unwrap();
            }
        });
        let error = library.config(&url).connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{library:?}: {error:?}");
        assert!(error.to_string().contains("is it a Redis"), "{error}");
        peer.abort();
    }
}

#[tokio::test]
async fn a_server_that_comes_later_is_used_then() {
    for &library in LIBRARIES {
        let binary = or_skip!(Binary::find("redis-server"));
        let (port, folder) = (free_port(), Folder::new("later"));
        let url = format!("redis://127.0.0.1:{port}");
        let redis = library.config(&url).connect().await.expect("a server that is down is no error");
        let cache = cache(&redis);
        assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Loaded);
        let port = port.to_string();
        let mut command = binary.command();
        let _server =
            Process::start(command.args(["--port", &port, "--save", ""]).current_dir(folder.path()));
        let began = Instant::now();
        while cache.get_entry(&1).await.unwrap().origin != Origin::Far {
            assert!(began.elapsed() < Duration::from_secs(10), "{library:?}: {:?}", cache.stats());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A dead server costs one timeout, and then nothing while the breaker is open; it is used again without a restart.
#[tokio::test]
async fn the_latency_of_a_dead_server_is_one_timeout() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&[]));
        let proxy = Proxy::to(server.port()).await;
        let timeout = Duration::from_millis(400);
        let redis = library.config(&proxy.url()).command_timeout(timeout).connect().await.unwrap();
        let cache = cache(&redis.breaker(5, Duration::from_secs(16)));
        assert_eq!(cache.get_entry(&0).await.unwrap().origin, Origin::Loaded);
        proxy.swallow(true);
        let mut took = Vec::new();
        for key in 1..=20 {
            let began = Instant::now();
            assert_eq!(cache.get_entry(&key).await.unwrap().origin, Origin::Loaded);
            took.push(began.elapsed());
        }
        assert!(took[0] >= timeout && took[0] < timeout * 5, "{library:?}: the first took {:?}", took[0]);
        let slowest = took[1..].iter().max().unwrap();
        assert!(*slowest < timeout, "{library:?}: with an open breaker {slowest:?}");
        proxy.swallow(false);
        let began = Instant::now();
        while cache.get_entry(&0).await.unwrap().origin != Origin::Far {
            assert!(began.elapsed() < Duration::from_secs(30), "{library:?}: {:?}", cache.stats());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn clients_of_the_users_own_are_taken() {
    let server = or_skip!(RedisServer::start(&[]));
    #[cfg(feature = "redis-rs")]
    {
        use larder_redis::redis;
        let client = redis::Client::open(server.url()).unwrap();
        works(&RedisConfig::from(client).connect().await.unwrap()).await;
    }
    #[cfg(feature = "fred")]
    {
        use larder_redis::fred::interfaces::ClientLike as _;
        use larder_redis::fred::types::Builder;
        use larder_redis::fred::types::config::Config;
        let config = Config::from_url(&server.url()).unwrap();
        let client = Builder::from_config(config.clone()).build().unwrap();
        client.init().await.unwrap();
        works(&RedisConfig::from(client.clone()).connect().await.unwrap()).await;
        let pool = Builder::from_config(config).build_pool(3).unwrap();
        pool.init().await.unwrap();
        works(&RedisConfig::from(pool.clone()).connect().await.unwrap()).await;
        client.quit().await.unwrap();
        pool.quit().await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_the_mend() {
    for (config, mend) in [
        (RedisConfig::new("localhost"), "use redis://"),
        (RedisConfig::new("redis://localhost").command_timeout(Duration::ZERO), "at least 1 ms"),
        (RedisConfig::new("redis://localhost").connections(0), "at least 1"),
    ] {
        let error = config.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(mend), "{error}");
    }
    #[cfg(not(feature = "tls"))]
    {
        let error = RedisConfig::new("rediss://localhost").connect().await.unwrap_err().to_string();
        assert!(error.contains("enable the feature `tls`"), "{error}");
    }
    let library = LIBRARIES[0];
    let redis: Result<RedisBackend, _> = library.config("redis://127.0.0.1:1").connect().await;
    let unnamed = Cache::<u64, u64>::builder()
        .backend(redis.unwrap().encoded(Json))
        .strategy(Strategy::aside(Duration::from_secs(1)))
        .build();
    assert!(unnamed.unwrap_err().to_string().contains(".namespace("), "a shared store needs a namespace");
    _ = Library::config;
}

/// Starts a peer that answers every command with `answer`; or only one of those that arrive together.
async fn answering(answer: &'static str, each: bool) -> (String, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    let commands = bytes[..read].iter().filter(|byte| **byte == b'*').count();
                    let answers = answer.repeat(if each { commands } else { 1 });
                    if stream.write_all(answers.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, peer)
}

/// Everything that an error shows: itself, its causes, each by `Display` and `Debug`.
fn shown(error: &larder::Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}

/// Servers that do not know a command repeat its arguments; some repeat the password alone.
#[tokio::test]
async fn what_a_server_says_to_a_login_is_in_no_error() {
    for &library in LIBRARIES {
        for answer in [
            "-ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `s3cret` \r\n",
            "-ERR unknown command 'hello', with args beginning with: '3' 'AUTH' 'default' 's3cret'\r\n",
            "-WRONGPASS s3cret is no password of default\r\n",
            "-NOPERM s3cret\r\n",
            "-ERR s3cret\r\n",
            "-s3cret\r\n",
            "!10\r\nERR s3cret\r\n",
            ":s3cret\r\n",
            "$s3cret\r\n",
            "*1\r\n$6\r\ns3cret\r\n",
            "s3cret\r\n",
        ] {
            let (address, peer) = answering(answer, true).await;
            for scheme in ["redis", "redis-cluster"] {
                let config = library.config(&format!("{scheme}://default:s3cret@{address}"));
                let config = config.connect_timeout(Duration::from_millis(300));
                let error = match config.command_timeout(Duration::from_millis(300)).connect().await {
                    Err(error) => error,
                    Ok(redis) => {
                        let cache = cache(&redis.breaker(1_000, Duration::from_secs(1)));
                        let Err(error) = cache.invalidate(&1).await else { continue };
                        error
                    }
                };
                let shown = shown(&error);
                assert!(!shown.contains("s3cret"), "{library:?} {scheme} {answer:?}: {shown}");
            }
            peer.abort();
        }
    }
}

/// A caller that reaches a server without `HELLO` gets an error at once, with each client library.
#[tokio::test]
async fn a_server_before_version_6_is_named() {
    for &library in LIBRARIES {
        let (address, peer) =
            answering("-ERR unknown command `HELLO`, with args beginning with: `3` \r\n", false).await;
        let error = library.config(&format!("redis://{address}")).connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{library:?}: {error:?}");
        assert!(error.to_string().contains("version 6 or later"), "{error}");
        peer.abort();
    }
}
