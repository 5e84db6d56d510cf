//! The physical limit: the same bytes over as many TLS connections, without an operator. Changes when the limit is taken
//! elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_runtime::tasks;
use futures_util::future::join_all;
use k8s_openapi::jiff::Zoned;
use mcp_operator::serve::{Authority, server_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use crate::Pods;
use crate::wire::Order;

/// Sends `bytes` to each of `pods` connections and waits for a byte of answer of every one; the times of `rounds` rounds.
pub(crate) async fn measure(pods: usize, through: &mut Pods, bytes: usize, rounds: usize) -> Vec<Duration> {
    let today = Zoned::now().date();
    let authority = Authority::generate(today).unwrap();
    let acceptor = TlsAcceptor::from(server_config(&authority, &["localhost".to_owned()], today).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    through.tell(&Order::Floor { port, authority: authority.certificate.clone(), bytes, rounds }).await;
    let mut sockets = Vec::new();
    for _ in 0..pods {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        sockets.push(Arc::new(Mutex::new(acceptor.accept(socket).await.unwrap())));
    }
    let payload: Arc<[u8]> = vec![b'x'; bytes].into();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let sending = sockets.iter().map(|socket| {
            let (socket, payload) = (Arc::clone(socket), Arc::clone(&payload));
            tasks::spawn("floor", async move {
                let mut socket = socket.lock().await;
                socket.write_all(&payload).await.unwrap();
                socket.flush().await.unwrap();
                socket.read_u8().await.unwrap();
            })
        });
        join_all(sending).await.into_iter().for_each(|sent| sent.unwrap());
        times.push(started.elapsed());
    }
    through.done().await;
    times
}
