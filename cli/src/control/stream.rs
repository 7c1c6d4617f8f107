//! The two ways in which the control plane does its I/O: `tokio-uring` where io_uring runs, `tokio`
//! elsewhere.
//!
//! `tokio-uring` owns the buffer while an operation is under way, so buffers are handed over and
//! come back; the other runtime follows the same shape. Sockets are accepted by readiness in both.

use std::future::Future;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use shoal_core::io::Backend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Entries of the control plane's own ring: a few clients and one file at a time.
#[cfg(target_os = "linux")]
const RING_ENTRIES: u32 = 32;

/// Runs a future to its end, on io_uring if that is wanted and possible, and tells it which it is.
pub fn run<F: Future<Output = ()>>(wanted: Backend, body: impl FnOnce(Backend) -> F) {
    #[cfg(target_os = "linux")]
    if wanted == Backend::Uring {
        match tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES)) {
            Ok(runtime) => return runtime.block_on(body(Backend::Uring)),
            Err(reason) => tracing::debug!(%reason, "the control plane goes without io_uring"),
        }
    }
    let _ = wanted;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            tokio::task::LocalSet::new().block_on(&runtime, body(Backend::Poll));
        }
        Err(error) => tracing::error!(%error, "the control plane cannot run"),
    }
}

/// A connection of either kind.
pub enum Stream {
    /// By completions.
    #[cfg(target_os = "linux")]
    Uring(tokio_uring::net::UnixStream),
    /// By readiness.
    Poll(UnixStream),
}

impl Stream {
    /// Takes an accepted connection over.
    pub fn new(stream: UnixStream, backend: Backend) -> io::Result<Stream> {
        #[cfg(target_os = "linux")]
        if backend == Backend::Uring {
            let stream = stream.into_std()?;
            // A socket that does not block would have its reads fail instead of wait.
            stream.set_nonblocking(false)?;
            return Ok(Stream::Uring(tokio_uring::net::UnixStream::from_std(stream)));
        }
        let _ = backend;
        Ok(Stream::Poll(stream))
    }

    /// Appends what comes next. `false` at the end.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        const CHUNK: usize = 1_024;
        match self {
            #[cfg(target_os = "linux")]
            Stream::Uring(stream) => {
                let (count, buffer) = stream.read(Vec::with_capacity(CHUNK)).await;
                into.extend_from_slice(&buffer[..count?]);
                Ok(!buffer.is_empty())
            }
            Stream::Poll(stream) => {
                into.reserve(CHUNK);
                Ok(stream.read_buf(into).await? > 0)
            }
        }
    }

    /// Writes everything.
    pub async fn write_all(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Stream::Uring(stream) => stream.write_all(bytes).await.0,
            Stream::Poll(stream) => stream.write_all(&bytes).await,
        }
    }

    /// Ends both directions, which also ends an operation that is still under way.
    pub fn shutdown(&self) {
        // Fails only for a peer that has gone already.
        let _ = match self {
            #[cfg(target_os = "linux")]
            Stream::Uring(stream) => stream.shutdown(Shutdown::Both),
            Stream::Poll(stream) => {
                rustix::net::shutdown(stream, rustix::net::Shutdown::Both).map_err(io::Error::from)
            }
        };
    }
}

/// Puts a file in place in one step: after a crash at any moment there is the old one or the new
/// one, whole.
pub async fn replace_file(path: &Path, bytes: Vec<u8>, backend: Backend) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    #[cfg(target_os = "linux")]
    if backend == Backend::Uring {
        use tokio_uring::fs::{File, OpenOptions, rename};
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(fresh).await?;
        file.write_all_at(bytes, 0).await.0?;
        file.sync_all().await?;
        file.close().await?;
        rename(fresh, path).await?;
        // The new name, too, has to reach the disk.
        let folder = File::open(folder).await?;
        folder.sync_all().await?;
        return folder.close().await;
    }
    let _ = backend;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(fresh, path)?;
    std::fs::File::open(folder)?.sync_all()
}
