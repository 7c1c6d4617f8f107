//! Compiling and running C programs from tests, within a time limit.
#![allow(dead_code)] // Each test uses its part.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Slow machines run Valgrind at a fiftieth of their speed.
const TIME_MAX: Duration = Duration::from_secs(240);
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Which library a program is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Only compiled.
    None,
    /// `libshoal.so`.
    Shared,
    /// `libshoal.a`.
    Static,
}

/// One run of a compiler.
#[derive(Debug)]
pub struct Build<'a> {
    /// The compiler's command.
    pub compiler: &'a str,
    /// The name of the file to write.
    pub name: &'a str,
    /// The sources, inside the package.
    pub sources: &'a [&'a str],
    /// Further flags.
    pub flags: &'a [&'a str],
    /// The library to link with.
    pub library: Library,
}

impl Build<'_> {
    /// Compiles with warnings as errors, and says where the result is.
    pub fn finish(&self) -> PathBuf {
        let target = scratch_path(self.name);
        let mut command = Command::new(self.compiler);
        command.args(["-g", "-O1", "-D_POSIX_C_SOURCE=200809L"]).args(WARNINGS).args(self.flags);
        command.arg("-I").arg(manifest_path("include")).arg("-o").arg(&target);
        command.args(self.sources.iter().map(|source| manifest_path(source)));
        let libraries = library_path();
        match self.library {
            Library::None => {
                command.arg("-c");
            }
            Library::Shared => {
                command.arg("-L").arg(&libraries).arg("-lshoal");
                command.arg(format!("-Wl,-rpath,{}", libraries.display()));
            }
            Library::Static => {
                command.arg(libraries.join("libshoal.a"));
            }
        }
        if self.library != Library::None {
            command.args(["-lpthread", "-ldl", "-lm"]);
        }
        let output = command.output().expect("the compiler can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}\n{errors}");
        target
    }
}

/// Runs a program to its end and gives back what it wrote.
pub fn run(program: &Path, arguments: &[&str]) -> String {
    run_command(Command::new(program).args(arguments))
}

/// Runs a program under Valgrind, which must find nothing.
pub fn run_valgrind(program: &Path, arguments: &[&str]) {
    // "Possibly lost" are blocks that only a pointer into their middle keeps, which is how the
    // standard library holds the handle of the main thread.
    let leaks =
        ["--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"];
    let known = format!("--suppressions={}", manifest_path("tests/valgrind.supp").display());
    let sent = format!("--suppressions={}", write_suppressions_of_sending().display());
    let mut command = Command::new("valgrind");
    command.args(["-q", "--error-exitcode=9", "--leak-check=full", &known, &sent]).args(leaks);
    run_command(command.arg(program).args(arguments).env("SHOAL_TEST_POLL", "1"));
}

/// The tag at the end of a datagram that is sent, which `tests/valgrind.supp` explains. The name of
/// a parameter cannot be a pattern, so each place in a batch is named.
fn write_suppressions_of_sending() -> PathBuf {
    let mut text = String::new();
    for (message, part) in (0..16).flat_map(|message| (0..16).map(move |part| (message, part))) {
        let parameter = format!("sendmsg(mmsg[{message}].msg_hdr.msg_iov[{part}])");
        let name = format!("aes-gcm-tag-sent-{message}-{part}");
        text += &format!("{{\n   {name}\n   Memcheck:Param\n   {parameter}\n   fun:sendmmsg\n}}\n");
    }
    let path = scratch_path(&format!("sending-{}.supp", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs a command to its end and gives back what it wrote.
pub fn run_command(command: &mut Command) -> String {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that a program that hangs ends with everything it started.
    command.process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let end = Instant::now() + TIME_MAX;
    while child.try_wait().expect("a child can be waited for").is_none() {
        if Instant::now() > end {
            // SAFETY: the group is this child's, which has not been waited for to its end.
            unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
            let output = child.wait_with_output().expect("a killed child ends");
            let errors = String::from_utf8_lossy(&output.stderr);
            panic!("{command:?} ran longer than {TIME_MAX:?}\n{errors}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("the child has ended");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a tool is installed; says so in one line when it is not.
pub fn available(tool: &str) -> bool {
    let mut command = Command::new(tool);
    let quiet = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let found = quiet.status().is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// A directory with `libshoal.so` under all its names, and `libshoal.a`. Cargo has put them
/// beside this test.
pub fn library_path() -> PathBuf {
    let directory = scratch_path("lib");
    let built = std::env::current_exe().expect("a test knows its file");
    let built = built.parent().expect("the file is in a directory");
    std::fs::create_dir_all(&directory).unwrap();
    let soname = format!("libshoal.so.{}", env!("SHOAL_SONAME_SUFFIX"));
    for (name, file) in [
        ("libshoal.so", "libshoal.so"),
        (soname.as_str(), "libshoal.so"),
        ("libshoal.a", "libshoal.a"),
    ] {
        let link = directory.join(name);
        if std::fs::read_link(&link).ok() != Some(built.join(file)) {
            // Another test may be doing the same at this moment.
            let _ = std::fs::remove_file(&link);
            let _ = std::os::unix::fs::symlink(built.join(file), &link);
        }
        assert!(link.exists(), "Cargo builds {file} before the tests");
    }
    directory
}

/// A path inside this package.
pub fn manifest_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path for the files of this test run.
pub fn scratch_path(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// Every function that the header declares, each in one line without its semicolon.
pub fn declarations() -> Vec<String> {
    let header = std::fs::read_to_string(manifest_path("include/shoal.h")).unwrap();
    let mut found = Vec::new();
    let mut declaration = String::new();
    for line in header.lines() {
        let begins = line.contains(" shoal_") || line.contains(" *shoal_");
        let is_code = !line.starts_with([' ', '/', '#', '*']);
        if declaration.is_empty() && !(begins && is_code && line.contains('(')) {
            continue;
        }
        declaration.push_str(line.trim());
        declaration.push(' ');
        if let Some(head) = declaration.trim_end().strip_suffix(';') {
            found.push(head.to_owned());
            declaration.clear();
        }
    }
    found
}

/// Installs below a directory of its own and says where the libraries are.
pub fn install(name: &str) -> PathBuf {
    let prefix = scratch_path(name);
    let _ = std::fs::remove_dir_all(&prefix);
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "-f", "ffi/Makefile.inc", "install-c", "CARGO=false"]);
    command.arg(format!("PREFIX={}", prefix.display()));
    command.arg(format!("FFI_LIBRARIES={}", library_path().display()));
    run_command(command.current_dir(manifest_path("..")));
    prefix.join("lib")
}

/// Builds the examples in a directory of their own, as somebody who copied it away.
pub fn build_examples(name: &str, libraries: &Path, linkage: &str) -> PathBuf {
    let directory = copy_examples(name);
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "--always-make", linkage]);
    command.env("PKG_CONFIG_PATH", libraries.join("pkgconfig")).current_dir(&directory);
    run_command(&mut command);
    directory
}

/// Copies the examples to a directory of their own.
pub fn copy_examples(name: &str) -> PathBuf {
    let directory = scratch_path(name);
    std::fs::create_dir_all(&directory).unwrap();
    for entry in std::fs::read_dir(manifest_path("../examples/c")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "c") || path.ends_with("Makefile")
        {
            std::fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
}
