//! The control socket as a file: who may reach it, and what becomes of one that was left behind.
//!
//! Whoever can connect can make the node leave, so the file is the owner's alone (mode 0600), and
//! that before anybody can connect: it is bound, closed to others, and only then listens. A folder
//! that other users may write to would let them put their own socket in its place, so it is
//! refused, unless it is sticky as `/tmp` is. The kernel's word on who connects is checked on top
//! of that.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::exit::Failure;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// A listening socket. Its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Which file is ours: by the time we go, another agent may listen at the same path.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Listens at a path.
    ///
    /// # Errors
    /// When the folder is not safe, the path is taken, or the system refuses.
    pub fn bind(path: &Path) -> Result<(ControlSocket, UnixListener), Failure> {
        check_folder(path)?;
        clear_stale(path)?;
        let complain = |error: io::Error| {
            Failure::usage(format_args!("cannot listen at --control {}: {error}", path.display()))
        };
        let listener = listen(path).map_err(complain)?;
        let file = fs::symlink_metadata(path).map_err(complain)?;
        let identity = (file.dev(), file.ino());
        Ok((ControlSocket { path: path.to_owned(), identity }, listener))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_ours {
            // What remains of it is recognised as stale by the next agent.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = AddressFamily::UNIX;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Nobody can connect to a socket that does not listen yet.
    let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    let listening = closed.and_then(|()| Ok(rustix::net::listen(&socket, BACKLOG)?));
    if let Err(error) = listening {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(socket))
}

/// Refuses a folder in which another user could replace the socket.
fn check_folder(path: &Path) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let found = fs::metadata(folder).map_err(|error| {
        Failure::usage(format_args!(
            "cannot use --control {}: its folder {}: {error}",
            path.display(),
            folder.display()
        ))
    })?;
    let own = rustix::process::geteuid().as_raw();
    let is_sticky = found.mode() & 0o1000 != 0;
    let is_open = found.mode() & 0o022 != 0 && !is_sticky;
    let is_foreign = found.uid() != own && found.uid() != 0;
    if is_open || is_foreign {
        return Err(Failure::usage(format_args!(
            "cannot use --control {}: other users could replace it in {}; use a folder that only \
             you may write to",
            path.display(),
            folder.display()
        )));
    }
    Ok(())
}

/// Removes a socket that nobody listens at. Anything else stays, and is an error.
fn clear_stale(path: &Path) -> Result<(), Failure> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Failure::usage(format_args!("--control {}: {error}", path.display())));
        }
    };
    if !file.file_type().is_socket() {
        return Err(Failure::usage(format_args!(
            "--control {} is a file of another kind; choose another path",
            path.display()
        )));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::debug!(path = %path.display(), "a stale control socket is removed");
            fs::remove_file(path).map_err(|error| {
                Failure::usage(format_args!("cannot remove stale {}: {error}", path.display()))
            })
        }
        _ => Err(Failure::usage(format_args!(
            "another agent listens at {}; give this one another --control (or SHOAL_CONTROL)",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn the_socket_is_the_owners_alone_and_goes_with_its_agent() {
        let folder = folder("socket");
        let path = folder.join("control");
        let (socket, _listener) = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(second, Failure::Usage(line) if line.contains("another agent")));
        drop(socket);
        assert!(!path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let folder = folder("stale");
        let path = folder.join("control");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves the file");
        let (first, _listener) = ControlSocket::bind(&path).unwrap();
        // A successor's file is not the predecessor's to remove.
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error, Failure::Usage(line) if line.contains("another kind")));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = folder("open");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = ControlSocket::bind(&folder.join("control")).unwrap_err();
        assert!(matches!(error, Failure::Usage(line) if line.contains("other users")));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        ControlSocket::bind(&folder.join("control")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
