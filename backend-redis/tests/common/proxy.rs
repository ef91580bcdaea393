//! A way to a server that can be blocked without anybody being told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes bytes on to a server, until it is told to swallow them: a black hole, which neither answers nor refuses.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    hole: Arc<Hole>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Hole {
    open: AtomicBool,
    closed: Notify,
    connections: AtomicU64,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let (own, hole) = (listener.local_addr().expect("an address").port(), Arc::new(Hole::default()));
        let shared = Arc::clone(&hole);
        let task = tokio::spawn(async move {
            let mut ways = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                shared.connections.fetch_add(1, SeqCst);
                let hole = Arc::clone(&shared);
                ways.spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near_in, far_out, &hole), pass(far_in, near_out, &hole));
                });
            }
        });
        Self { port: own, hole, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn swallow(&self, swallow: bool) {
        self.hole.open.store(swallow, SeqCst);
        self.hole.closed.notify_waiters();
    }

    pub(crate) fn connections(&self) -> u64 {
        self.hole.connections.load(SeqCst)
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    hole: &Hole,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        if !hole.open.load(SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // the other side is told, unless nothing gets through
    while hole.open.load(SeqCst) {
        hole.closed.notified().await;
    }
    _ = to.shutdown().await;
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
