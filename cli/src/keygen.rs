//! `shoal keygen`: makes a secret that nobody can guess.
//!
//! 32 bytes from the system's generator, written as 64 hexadecimal digits so that the line survives
//! shells, environment variables and editors. Nodes use the text itself as their secret.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::exit::Failure;
use crate::output;

/// How many random bytes a secret has.
const SECRET_SIZE: usize = 32;

/// Make a secret for a cluster.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal keygen --output secret.key     # readable by you alone
  shoal agent --secret-file secret.key

  export SHOAL_SECRET=$(shoal keygen)  # for a quick try")]
pub struct Arguments {
    /// Write the secret to this file, which must not exist yet, instead of printing it.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let secret = generate()?;
    match &arguments.output {
        Some(path) => write_new(path, &secret),
        None => output::print_line(&secret),
    }
}

/// A new secret, as text.
pub fn generate() -> Result<String, Failure> {
    let mut bytes = [0; SECRET_SIZE];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::failed("the system has no random numbers to give"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the secret for the owner's eyes only, and never over something that is there.
fn write_new(path: &Path, secret: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format_args!(
            "{} exists and stays as it is; remove it or choose another name",
            path.display()
        )),
        _ => Failure::failed(format_args!("cannot create {}: {error}", path.display())),
    })?;
    let written = writeln!(file, "{secret}").and_then(|()| file.sync_all());
    written
        .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_long_plain_and_different() {
        let secret = generate().unwrap();
        assert_eq!(secret.len(), 64);
        assert!(secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(secret, generate().unwrap());
        shoal_core::Secret::new(secret).unwrap();
    }

    #[test]
    fn a_file_is_private_and_never_overwritten() {
        let path = std::env::temp_dir().join(format!("shoal-keygen-{}", std::process::id()));
        write_new(&path, "first").unwrap();
        let second = write_new(&path, "second");
        let content = std::fs::read_to_string(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(second, Err(Failure::Usage(_))));
        assert_eq!((content.as_str(), mode & 0o777), ("first\n", 0o600));
    }
}
