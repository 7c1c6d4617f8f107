//! The asking side of the control socket, for the commands that talk to a running agent.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::protocol::{self, Question, Request, VERSION};
use crate::exit::Failure;

/// How long an agent may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: a million members fit.
const ANSWER_SIZE_MAX: u64 = 1 << 29;

/// Which agent a command talks to.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// The agent's control socket, as given to `shoal agent --control`; also in $SHOAL_CONTROL
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Target {
    /// Connects to the agent.
    ///
    /// # Errors
    /// When none is named or none listens.
    pub fn connect(&self) -> Result<Client, Failure> {
        let named = self.control.clone().or_else(|| {
            std::env::var_os("SHOAL_CONTROL").filter(|path| !path.is_empty()).map(PathBuf::from)
        });
        let path = named.ok_or_else(|| {
            Failure::usage("which agent? Give --control PATH, or set SHOAL_CONTROL")
        })?;
        Client::connect(&path)
    }
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    fn connect(path: &Path) -> Result<Client, Failure> {
        let opened = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(stream)
        });
        let stream = opened.map_err(|error| {
            let path = path.display();
            Failure::failed(match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    format!("no agent listens at {path}; is one running with --control {path}?")
                }
                ErrorKind::PermissionDenied => {
                    format!("{path} belongs to another user; ask as the agent's user")
                }
                _ => format!("cannot reach the agent at {path}: {error}"),
            })
        })?;
        Ok(Client { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Asks one question.
    ///
    /// # Errors
    /// When the agent cannot answer, or does not.
    pub fn ask<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, Failure> {
        let question = Question { version: VERSION, request };
        let mut line = serde_json::to_string(&question).expect("a question is plain data");
        line.push('\n');
        let mut answer = Vec::new();
        let spoken = self.stream.get_mut().write_all(line.as_bytes()).and_then(|()| {
            let mut limited = (&mut self.stream).take(ANSWER_SIZE_MAX);
            limited.read_until(b'\n', &mut answer)
        });
        let complain = |reason: &dyn std::fmt::Display| {
            Failure::failed(format_args!("the agent at {}: {reason}", self.path.display()))
        };
        match spoken {
            Ok(_) if answer.ends_with(b"\n") => {
                protocol::read_answer(&answer).map_err(|reason| complain(&reason))
            }
            Ok(_) => Err(complain(&"it ended before it answered")),
            Err(error) => Err(complain(&error)),
        }
    }

    /// Waits until the agent closes the connection, which it does when it ends.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_end(&mut self) -> Result<(), Failure> {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            _ => Err(Failure::failed("the agent said goodbye and has not ended yet")),
        }
    }
}
