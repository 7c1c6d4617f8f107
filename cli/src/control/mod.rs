//! The agent's control plane: a thread of its own beside the node's, that answers clients on a Unix
//! socket, serves metrics over HTTP and writes snapshots.
//!
//! It runs only when one of the three is asked for. It reads the node's mirror and sends it
//! commands, as any host does, so nothing that a client does can hold a probe back. Everything is
//! bounded: clients, the size of their questions, and the time they may take; what exceeds a bound
//! loses its connection.

mod answers;
pub mod client;
mod http;
pub mod protocol;
mod socket;
mod stream;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use shoal_core::io::Backend;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::exit::Failure;
use crate::host::Host;
use crate::snapshot;
use protocol::REQUEST_SIZE_MAX;
use socket::ControlSocket;
use stream::Stream;

/// Clients served at a time, on the socket and over HTTP each. One more is told so and let go.
pub const CLIENT_COUNT_MAX: usize = 16;
/// How long a client may be silent between two questions.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the plane has to end before its thread is left behind.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the plane is asked to do. Nothing asked, nothing runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Answer clients at this path.
    pub control: Option<PathBuf>,
    /// Serve metrics at this address.
    pub metrics: Option<SocketAddr>,
    /// Keep a snapshot in this file.
    pub snapshot: Option<PathBuf>,
    /// Time between two snapshots.
    pub snapshot_interval: Duration,
}

impl Options {
    /// Whether a plane is needed.
    pub fn is_needed(&self) -> bool {
        self.control.is_some() || self.metrics.is_some() || self.snapshot.is_some()
    }
}

/// What is bound before the node starts, so that a mistake is told before anything happens.
#[derive(Debug)]
pub struct Bound {
    options: Options,
    control: Option<(ControlSocket, UnixListener)>,
    metrics: Option<TcpListener>,
}

impl Bound {
    /// Takes socket and port.
    ///
    /// # Errors
    /// When either is not to be had.
    pub fn bind(options: Options) -> Result<Bound, Failure> {
        let control = options.control.as_deref().map(ControlSocket::bind).transpose()?;
        let listen = |address: SocketAddr| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let metrics = options.metrics.map(|address| {
            listen(address).map_err(|error: io::Error| {
                Failure::usage(format_args!("cannot serve --metrics at {address}: {error}"))
            })
        });
        Ok(Bound { control, metrics: metrics.transpose()?, options })
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Starts the thread, if it has anything to do.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(self, host: Arc<Host>) -> Result<Option<Plane>, Failure> {
        if !self.options.is_needed() {
            return Ok(None);
        }
        let Bound { options, control, metrics } = self;
        let (stop, stopped) = watch::channel(false);
        let (report, ended) = sync_channel::<()>(1);
        let builder = std::thread::Builder::new().name("shoal-control".to_owned());
        let spawned = builder.stack_size(512 * 1024).spawn(move || {
            // Dropped when the thread ends, however it ends.
            let _report = report;
            let wanted = host.node.backend();
            stream::run(wanted, |backend| {
                serve(Server { host, backend, stopped, options }, control, metrics)
            });
        });
        spawned.map_err(|error| Failure::failed(format_args!("no control thread: {error}")))?;
        Ok(Some(Plane { stop, ended }))
    }
}

/// The running control plane. Dropping it writes the last snapshot and ends it.
#[derive(Debug)]
pub struct Plane {
    stop: watch::Sender<bool>,
    ended: Receiver<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        // A disk that hangs must not keep the agent from ending.
        let _ = self.ended.recv_timeout(STOP_TIMEOUT);
    }
}

/// What every task of the plane has.
#[derive(Clone)]
struct Server {
    host: Arc<Host>,
    backend: Backend,
    stopped: watch::Receiver<bool>,
    options: Options,
}

/// Counts clients while they are there.
#[derive(Clone, Default)]
struct Clients(Rc<Cell<usize>>);

struct Client(Rc<Cell<usize>>);

impl Clients {
    /// Room for one more, `None` when there is none.
    fn admit(&self) -> Option<Client> {
        let count = self.0.get();
        (count < CLIENT_COUNT_MAX).then(|| {
            self.0.set(count + 1);
            Client(Rc::clone(&self.0))
        })
    }

    /// Waits until all have gone.
    async fn wait_for_none(&self) {
        while self.0.get() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn serve(
    server: Server,
    control: Option<(ControlSocket, UnixListener)>,
    metrics: Option<TcpListener>,
) {
    tracing::debug!(backend = %server.backend, "the control plane is up");
    let mut stopped = server.stopped.clone();
    let clients = Clients::default();
    let (end, ended) = watch::channel(false);
    let accepting = control.map(|(socket, listener)| {
        let accept = accept_clients(server.clone(), listener, clients.clone(), ended);
        (socket, spawn_local(log_end(accept)))
    });
    if let Some(listener) = metrics {
        spawn_local(log_end(http::serve(server.clone(), listener)));
    }
    let keeping = server.options.snapshot.clone().map(|path| {
        let keeper = keep_snapshot(server.clone(), path);
        spawn_local(keeper)
    });
    // The sender is dropped only with the plane.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    if let Some(keeping) = keeping {
        let _ = keeping.await;
    }
    if let Some((socket, task)) = accepting {
        task.abort();
        drop(socket);
    }
    // Only now, so that whoever waits for the end finds snapshot and path as they will stay.
    end.send_replace(true);
    let _ = timeout(STOP_TIMEOUT / 2, clients.wait_for_none()).await;
}

async fn log_end(task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a part of the control plane ended");
    }
}

/// Accepts clients for ever.
async fn accept_clients(
    server: Server,
    listener: UnixListener,
    clients: Clients,
    ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let own = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: some will be given back.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let is_allowed = stream.peer_cred().is_ok_and(|peer| [0, own].contains(&peer.uid()));
        let Ok(mut stream) = Stream::new(stream, server.backend) else { continue };
        let refusal = match clients.admit() {
            _ if !is_allowed => "only the agent's own user may ask".to_owned(),
            None => format!("{CLIENT_COUNT_MAX} clients are served already, try again later"),
            Some(place) => {
                spawn_local(serve_client(server.clone(), stream, ended.clone(), place));
                continue;
            }
        };
        spawn_local(async move {
            let line = protocol::line::<()>(Err(refusal)).into_bytes();
            let _ = timeout(WRITE_TIMEOUT, stream.write_all(line)).await;
        });
    }
}

/// Answers one client until it goes, is silent for too long, or the plane ends.
async fn serve_client(
    server: Server,
    mut stream: Stream,
    mut ended: watch::Receiver<bool>,
    _place: Client,
) {
    tokio::select! {
        () = converse(&server, &mut stream) => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
    stream.shutdown();
}

async fn converse(server: &Server, stream: &mut Stream) {
    let mut received: Vec<u8> = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if received.len() >= REQUEST_SIZE_MAX {
                let refusal = format!("a question has at most {REQUEST_SIZE_MAX} bytes");
                let line = protocol::line::<()>(Err(refusal)).into_bytes();
                let _ = timeout(WRITE_TIMEOUT, stream.write_all(line)).await;
                return;
            }
            match timeout(IDLE_TIMEOUT, stream.read(&mut received)).await {
                Ok(Ok(true)) => {}
                _ => return,
            }
        };
        let answer = answers::answer(&server.host, &received[..end]);
        received.drain(..=end);
        match timeout(WRITE_TIMEOUT, stream.write_all(answer.into_bytes())).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}

/// Writes a snapshot at every interval, and a last one at the end.
async fn keep_snapshot(server: Server, path: PathBuf) {
    let mut stopped = server.stopped.clone();
    loop {
        let interval = server.options.snapshot_interval;
        let is_last = timeout(interval, stopped.wait_for(|stopped| *stopped)).await.is_ok();
        if let Some(bytes) = snapshot::take(&server.host)
            && let Err(error) = stream::replace_file(&path, bytes, server.backend).await
        {
            let path = path.display();
            tracing::warn!(%path, %error, "the snapshot could not be written");
        }
        if is_last {
            return;
        }
    }
}
