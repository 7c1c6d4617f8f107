//! A network and a process namespace of our own, so that agents find every port free, packets can
//! be lost, and nothing is left running whatever becomes of the measurement.
//!
//! The program starts itself again inside. Where the system refuses the namespace it goes on
//! outside, and what needs the packet filter is skipped.

use std::process::Command;

use shoal_benches::figures::Results;

/// Set for the program that runs inside.
const MARK: &str = "SHOAL_MEASURE_INSIDE";
const UNSHARE: [&str; 7] =
    ["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs a measurement in namespaces of its own where that is possible.
///
/// # Errors
/// What the measurement says, or that the program cannot be started again.
pub fn inside(measure: impl FnOnce() -> Result<Results, String>) -> Result<Results, String> {
    let is_inside = std::env::var_os(MARK).is_some();
    let possible = || Command::new("unshare").args(UNSHARE).arg("true").output();
    if is_inside || !possible().is_ok_and(|output| output.status.success()) {
        return measure();
    }
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(program);
    let status = command.args(std::env::args_os().skip(1)).env(MARK, "yes").status();
    match status.map_err(|error| format!("unshare: {error}"))?.success() {
        // It has printed its results itself.
        true => Ok(Results::default()),
        false => Err("the measurement inside the namespace failed".to_owned()),
    }
}

/// Loses this share of all datagrams from now on. False where that cannot be done.
pub fn lose(share: f64) -> bool {
    if std::env::var_os(MARK).is_none() {
        return share == 0.0;
    }
    let iptables = |arguments: &[&str]| {
        let output = Command::new("iptables").arg("--wait").args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    let probability = share.to_string();
    let rule = ["-A", "INPUT", "-p", "udp", "-m", "statistic", "--mode", "random"];
    let rule = [&rule[..], &["--probability", &probability, "-j", "DROP"]].concat();
    iptables(&["-F", "INPUT"]) && (share == 0.0 || iptables(&rule))
}
