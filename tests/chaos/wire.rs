//! The way from a replica to the API server, which can be cut and can fall silent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A forwarder of TCP connections.
pub(crate) struct Wire {
    pub(crate) port: u16,
    cuts: watch::Sender<u64>,
    silent: watch::Sender<bool>,
}

impl Wire {
    pub(crate) fn start(runtime: &Handle, to: SocketAddr) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, silent) = (watch::Sender::new(0), watch::Sender::new(false));
        let (seen, quiet) = (cuts.subscribe(), silent.subscribe());
        runtime.spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(connection(from, to, seen.clone(), quiet.clone()));
            }
        });
        Self { port, cuts, silent }
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets nothing through, in either direction, and ends nothing.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.silent.send_replace(is_silent);
    }
}

async fn connection(
    from: TcpStream,
    to: SocketAddr,
    mut cuts: watch::Receiver<u64>,
    silent: watch::Receiver<bool>,
) {
    cuts.mark_unchanged();
    let forward = async {
        let mut quiet = silent.clone();
        quiet.wait_for(|silent| !silent).await.ok()?;
        let to = TcpStream::connect(to).await.ok()?;
        let (from, to) = (from.into_split(), to.into_split());
        tokio::select! {
            () = pump(from.0, to.1, silent.clone()) => {}
            () = pump(to.0, from.1, silent.clone()) => {}
        }
        Some(())
    };
    tokio::select! {
        _ = forward => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut silent: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
