//! A real seccomp filter, as container runtimes install one.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Runs `test` where this system call fails with this error.
///
/// The kernel applies the filter to the thread that installs it and to the threads and processes
/// that it starts, so `test` runs in a thread of its own and nothing else notices.
pub fn without_call<T: Send>(call: libc::c_long, errno: i32, test: impl FnOnce() -> T + Send) -> T {
    let rules = BTreeMap::from([(call, Vec::new())]);
    let refusal = SeccompAction::Errno(errno as u32);
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    std::thread::scope(|scope| {
        let filtered = scope.spawn(move || {
            seccompiler::apply_filter(&program).expect("filters need no privilege");
            test()
        });
        filtered.join().unwrap()
    })
}
