//! What can go wrong for the host of a running node. Each error is one line that says what to do.

use std::io;
use std::net::SocketAddr;

use crate::error::{CommandError, ConfigError};

/// Why a node or its thread was not started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bind address is another socket's.
    #[error("cannot bind {address}: it is in use; stop the other program or choose another port")]
    AddressInUse {
        /// The address as asked for.
        address: SocketAddr,
    },
    /// The bind address belongs to another machine.
    #[error(
        "cannot bind {address}: this machine has no such address; bind one of its own or 0.0.0.0"
    )]
    AddressNotAvailable {
        /// The address as asked for.
        address: SocketAddr,
    },
    /// The socket could not be made for another reason.
    #[error("cannot bind {address}: {source}")]
    Bind {
        /// The address as asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A node bound to every address cannot know by which of them its peers reach it.
    #[error("bound to {local}, which peers cannot send to; set the address to advertise")]
    AdvertiseUnknown {
        /// The address of the socket.
        local: SocketAddr,
    },
    /// A seed cannot be joined through.
    #[error(transparent)]
    Join(CommandError),
    /// The uring backend was asked for by name, and the system refuses it.
    #[error("the uring backend is not available: {reason}")]
    UringRefused {
        /// Why, and how to fix it.
        reason: String,
    },
    /// The thread cannot run on the given processor.
    #[error("cannot pin the node thread to processor {cpu}: {source}")]
    Pin {
        /// The processor's number.
        cpu: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a thread or a file descriptor.
    #[error("cannot start the node thread: {0}; raise the limits on threads and open files")]
    Resources(#[from] io::Error),
    /// The node thread has ended.
    #[error("the node thread has ended; start a new one")]
    Stopped,
}

/// Why a running node did not do what it was told. Its state is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The engine refused the command.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The node or its thread has ended.
    #[error("the node has stopped; start a new one")]
    Stopped,
}
