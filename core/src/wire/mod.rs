//! The bytes between nodes: a sealed envelope ([`envelope`]) around one message ([`native`]), and
//! the same for the Python node's format ([`hyperscale`]).
//!
//! Everything here works in place: a received datagram is opened and parsed where it lies, an outgoing
//! one is written once, into the buffer that will be sent.

pub mod envelope;
pub mod hyperscale;
pub mod native;
pub mod payload;
pub mod replay;
