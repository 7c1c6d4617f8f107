//! Where io_uring is refused, as under Docker's default profile, a node runs on `poll` and says
//! why.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod filter;

use std::time::Duration;

use filter::without_call;
use shoal_core::io::{Backend, BackendChoice, Node, NodeOptions, StartError};
use shoal_core::{Address, Config, Event, Secret};

fn start(backend: BackendChoice, join: Vec<Address>) -> Result<Node, StartError> {
    let secret = Secret::new(*b"a secret for tests on loopback").unwrap();
    let config = Config::new(Address::UNSPECIFIED, secret);
    let mut options = NodeOptions::new("127.0.0.1:0".parse().unwrap(), config);
    (options.backend, options.join) = (backend, join);
    Node::start(options)
}

const REFUSALS: [(libc::c_long, i32, &str); 4] = [
    (libc::SYS_io_uring_setup, libc::EPERM, "io_uring_setup is not permitted"),
    (libc::SYS_io_uring_setup, libc::ENOSYS, "io_uring_setup does not exist here"),
    (libc::SYS_io_uring_register, libc::EPERM, "io_uring_register is not permitted"),
    (libc::SYS_io_uring_enter, libc::EPERM, "io_uring_enter is not permitted"),
];

#[test]
fn auto_falls_back_to_poll_and_says_why() {
    for (call, errno, reason) in REFUSALS {
        without_call(call, errno, || {
            let node = start(BackendChoice::Auto, Vec::new()).unwrap();
            assert_eq!(node.backend(), Backend::Poll);
            let refusal = node.backend_refusal().expect("the refusal is told");
            assert!(refusal.contains(reason), "{refusal}");
            assert!(!refusal.contains('\n'));
        });
    }
}

#[test]
fn uring_by_name_is_an_error_that_says_what_to_do() {
    for (call, errno, reason) in REFUSALS {
        without_call(call, errno, || {
            let error = start(BackendChoice::Uring, Vec::new()).unwrap_err();
            assert!(matches!(error, StartError::UringRefused { .. }));
            let line = error.to_string();
            assert!(line.starts_with("the uring backend is not available: "), "{line}");
            assert!(line.contains(reason), "{line}");
        });
    }
}

#[test]
fn a_node_without_io_uring_joins_one_that_has_it() {
    let with = start(BackendChoice::Auto, Vec::new()).unwrap();
    without_call(libc::SYS_io_uring_setup, libc::EPERM, || {
        let without = start(BackendChoice::Auto, vec![with.address()]).unwrap();
        assert_eq!((with.backend(), without.backend()), (Backend::Uring, Backend::Poll));
        let event = std::iter::from_fn(|| without.wait_event(Duration::from_secs(10)))
            .find(|event| matches!(event, Event::Joined { .. }));
        assert!(event.is_some());
    });
}
