//! Names of jobs, workers and workflows: 128 bits that the host chooses and the engine never
//! interprets.
//!
//! A UUID or a counter fits as it is. A longer name is taken by its SHA-256, the same way in every
//! layer (Rust, C, Python), so that one name means one job everywhere. Two names meet by chance
//! after about 2^64 of them, and nobody can make them meet on purpose with less work than that.

use std::fmt;

/// Declares one kind of name.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The one with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> $name {
                $name(bytes)
            }

            /// The one with this name: the first half of the name's SHA-256.
            pub fn from_name(name: &[u8]) -> $name {
                let digest = ring::digest::digest(&ring::digest::SHA256, name);
                $name(digest.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes"))
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl From<u128> for $name {
            /// The largest byte first, as UUIDs are written.
            fn from(number: u128) -> $name {
                $name(number.to_be_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

identifier! {
    /// A job.
    JobId
}

identifier! {
    /// A worker that takes part in a job.
    WorkerId
}

identifier! {
    /// A workflow: one of the parts that a job consists of.
    WorkflowId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_job_everywhere() {
        // The first half of the published SHA-256 of "abc", so that other layers can check theirs.
        assert_eq!(JobId::from_name(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
    }

    #[test]
    fn names_and_numbers_are_kept_apart_and_print_as_hex() {
        assert_eq!(JobId::from_name(b"nightly"), JobId::from_name(b"nightly"));
        assert_ne!(JobId::from_name(b"nightly"), JobId::from_name(b"nightly2"));
        let worker = WorkerId::from(0x0201);
        assert_eq!(worker.to_string(), "00000000000000000000000000000201");
        assert_eq!(format!("{worker:?}"), "WorkerId(00000000000000000000000000000201)");
        assert_eq!(WorkerId::from_bytes(*worker.as_bytes()), worker);
    }
}
