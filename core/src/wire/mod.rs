//! The bytes between nodes: a sealed envelope ([`envelope`]) around one message ([`native`]).
//!
//! Everything here works in place: a received datagram is opened and parsed where it lies, an outgoing
//! one is written once, into the buffer that will be sent.

pub mod envelope;
pub mod native;
pub mod payload;
pub mod replay;
