//! Readings of processes and threads from `/proc`, and children that end with whoever started them.

use std::process::{Child, Command};

/// Processor time of the threads of this process with this name, in nanoseconds.
pub fn thread_cpu_nanos(name: &str) -> u64 {
    cpu_nanos("self", |comm| comm == name)
}

/// Processor time of all threads of a process, in nanoseconds; 0 when it has ended.
pub fn process_cpu_nanos(pid: u32) -> u64 {
    cpu_nanos(&pid.to_string(), |_| true)
}

fn cpu_nanos(process: &str, is_wanted: impl Fn(&str) -> bool) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let of_task = |path: std::path::PathBuf| {
        let comm = std::fs::read_to_string(path.join("comm")).ok()?;
        let times = std::fs::read_to_string(path.join("schedstat")).ok()?;
        let nanos = times.split_whitespace().next()?.parse::<u64>().ok()?;
        is_wanted(comm.trim()).then_some(nanos)
    };
    tasks.flatten().filter_map(|task| of_task(task.path())).sum()
}

/// Resident memory of a process in bytes; 0 when it has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

/// A child process that is killed and waited for when this value goes.
#[derive(Debug)]
pub struct Guarded(pub Child);

impl Guarded {
    /// Starts a command.
    ///
    /// # Errors
    /// When the system cannot start it, most often because it is not installed.
    pub fn spawn(command: &mut Command) -> std::io::Result<Guarded> {
        command.spawn().map(Guarded)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_seen_and_gone_with_its_guard() {
        let child = Guarded::spawn(Command::new("sleep").arg("60")).unwrap();
        let pid = child.0.id();
        assert!(resident_bytes(pid) > 0);
        drop(child);
        assert_eq!((resident_bytes(pid), process_cpu_nanos(pid)), (0, 0));
    }
}
