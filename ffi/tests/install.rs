//! What a C programmer does first: `make install`, then the examples by their own Makefile,
//! which knows nothing but pkg-config, with the shared and with the static library, and a
//! cluster of them with a Rust node.

mod toolchain;

use shoal_core::io::{Node, NodeOptions};
use shoal_core::{Address, Config, Duration, Event, MemberState, Secret};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use toolchain::{
    available, build_examples, install, library_path, manifest_path, run_command, scratch_path,
};

const SECRET: &str = "a secret for the examples";

fn start_node() -> Node {
    let secret = Secret::new(SECRET).unwrap();
    let config = Config::new(Address::UNSPECIFIED, secret);
    Node::start(NodeOptions::new("127.0.0.1:0".parse().unwrap(), config)).unwrap()
}

/// Takes events of the node until two members have been alive and have left.
fn wait_for_visitors(node: &Node) {
    let end = Instant::now() + Duration::from_secs(40);
    let (mut alive, mut left) = (0, 0);
    while (alive, left) != (2, 2) {
        assert!(Instant::now() < end, "{alive} of 2 were alive, {left} of 2 left");
        if let Some(Event::Member(member)) = node.wait_event(Duration::from_millis(100)) {
            alive += usize::from(member.state == MemberState::Alive);
            left += usize::from(member.state == MemberState::Left);
        }
    }
}

/// Runs `members` and `engine_loop` in one cluster with a Rust node, each seeing all three.
fn run_cluster(directory: &Path, libraries: Option<&Path>) {
    let node = start_node();
    let seed = node.address().to_string();
    let command = |program: &str| {
        let mut command = Command::new(directory.join(program));
        command.env_remove("LD_LIBRARY_PATH");
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    };
    // A free port: the engine must know its address before it has a socket.
    let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (members, engine) = std::thread::scope(|scope| {
        let engine =
            scope.spawn(|| run_command(command("engine_loop").args([&own, SECRET, "10", &seed])));
        let members = scope
            .spawn(|| run_command(command("members").args(["127.0.0.1:0", SECRET, "3", &seed])));
        wait_for_visitors(&node);
        (members.join().unwrap(), engine.join().unwrap())
    });
    for told in [format!("{seed} is alive"), format!("{own} is alive"), "left".to_owned()] {
        assert!(members.contains(&told), "{told:?} is not in\n{members}");
    }
    assert!(members.contains(&format!("joined through {seed}")), "{members}");
    assert!(engine.contains(&format!("{seed} is alive")), "{engine}");
}

#[test]
fn installed_examples_run_with_the_shared_library() {
    if !available("pkg-config") {
        return;
    }
    let libraries = install("installed-shared");
    let directory = build_examples("examples-shared", &libraries, "STATIC=0");
    run_cluster(&directory, Some(&libraries));
    let table =
        run_command(Command::new(directory.join("coordinates")).env("LD_LIBRARY_PATH", &libraries));
    assert_eq!(table.matches("predicted").count(), 2, "{table}");
    let jobs = run_command(Command::new(directory.join("jobs")).env("LD_LIBRARY_PATH", &libraries));
    for line in ["second: took over", "gate: timed out because of", "second: timed out because of"]
    {
        assert_eq!(jobs.matches(line).count(), 1, "{line:?} once in\n{jobs}");
    }
    let story =
        run_command(Command::new(directory.join("route")).env("LD_LIBRARY_PATH", &libraries));
    for reason in ["initial_selection", "exclusion_forced", "cooldown_penalty"] {
        assert!(story.contains(reason), "{reason} is not in\n{story}");
    }
    let opened =
        run_command(Command::new(directory.join("envelope")).env("LD_LIBRARY_PATH", &libraries));
    for line in ["bob: the gate moves at noon", "bob again: the datagram was opened before"] {
        assert!(opened.lines().any(|told| told == line), "{line:?} is not in\n{opened}");
    }
    assert!(opened.contains("mallory: the datagram is sealed with another secret"), "{opened}");
    assert!(opened.contains("bob, changed: the seal of the datagram is broken"), "{opened}");
}

#[test]
fn installed_examples_run_with_the_static_library_alone() {
    if !available("pkg-config") {
        return;
    }
    let libraries = install("installed-static");
    let directory = build_examples("examples-static", &libraries, "STATIC=1");
    std::fs::remove_file(libraries.join("libshoal.so")).unwrap();
    run_cluster(&directory, None);
}

#[test]
fn a_staged_installation_names_its_final_place() {
    let stage = scratch_path("stage");
    let _ = std::fs::remove_dir_all(&stage);
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "-f", "ffi/Makefile.inc", "install-c", "CARGO=false"]);
    command.args(["PREFIX=/usr", "LIBDIR=/usr/lib/here"]);
    command.arg(format!("DESTDIR={}", stage.display()));
    command.arg(format!("FFI_LIBRARIES={}", library_path().display()));
    run_command(command.current_dir(manifest_path("..")));
    let description = stage.join("usr/lib/here/pkgconfig/shoal.pc");
    let description = std::fs::read_to_string(description).unwrap();
    assert!(description.contains("libdir=/usr/lib/here\n"), "{description}");
    assert!(description.contains("includedir=/usr/include\n"), "{description}");
    assert!(description.contains(&format!("Version: {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(stage.join("usr/include/shoal.h").exists());
    let soname = format!("libshoal.so.{}", env!("SHOAL_SONAME_SUFFIX"));
    assert!(stage.join("usr/lib/here").join(soname).exists());
}
