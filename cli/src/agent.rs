//! `shoal agent`: runs one node until it is told to stop, and prints what it sees.
//!
//! The node has its own thread; this one sleeps on two descriptors, the node's events and the
//! signals, and wakes for nothing else. SIGINT and SIGTERM make the node say goodbye, so that peers
//! see it leave rather than fail; a second signal, or no goodbye within [`LEAVE_TIMEOUT`], ends it
//! anyway.

use std::io::Read;
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shoal_core::io::{BackendChoice, Node, NodeOptions, StartError};
use shoal_core::{Address, Config, Event, Secret};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::Failure;
use crate::output::{Output, Record, Written};
use crate::settings::{self, BIND_DEFAULT, EngineSettings, Settings};

/// How long the goodbye may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Run one node until SIGINT or SIGTERM, then leave the cluster.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  export SHOAL_SECRET=$(shoal keygen)
  shoal agent                                              # a cluster of one, on this machine
  shoal agent --bind 127.0.0.1:0 --join 127.0.0.1:7462     # a second node, in another terminal

  shoal agent --bind 10.0.0.1:7462 --role gate --datacenter us-east \\
      --secret-file /etc/shoal/secret.key --join 10.0.0.2:7462 --join 10.0.0.3:7462

  shoal agent --bind 0.0.0.0:7462 --advertise 203.0.113.7:7462 ...   # behind NAT, in a container

  shoal agent --format json | jq 'select(.state == \"dead\")'

With --config the same names go into a TOML file; flags win. The engine's tuning has its own table:
  bind = \"10.0.0.1:7462\"
  join = [\"10.0.0.2:7462\"]
  secret_file = \"/etc/shoal/secret.key\"
  [engine]
  probe_interval_ms = 500")]
pub struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Read settings from this TOML file; flags win
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (settings, engine) = settings::resolve(&arguments.settings, arguments.config.as_deref())?;
    let options = node_options(&settings, &engine)?;
    // From here on a signal means "leave", even one that comes while the node starts.
    let mut signals = Signals::register().map_err(Failure::failed)?;
    let node = Node::start(options).map_err(start_failure)?;
    let output = Output::new(settings.format.unwrap_or_default());
    serve(&node, &mut signals, &output)
}

/// Turns settings into what a node needs.
fn node_options(settings: &Settings, engine: &EngineSettings) -> Result<NodeOptions, Failure> {
    let bind =
        settings.bind.unwrap_or_else(|| BIND_DEFAULT.parse().expect("the default is an address"));
    if settings.advertise.is_none() && bind.ip().is_unspecified() {
        return Err(Failure::usage(format_args!(
            "peers cannot reach {bind}; add --advertise with the address they use, or --bind to \
             one address"
        )));
    }
    let advertise = settings.advertise.map_or(Address::UNSPECIFIED, Address::from);
    let secret = read_secret(settings.secret_file.as_deref())?;
    let mut config = Config::new(advertise, secret);
    if let Some(role) = settings.role {
        config.role = role;
    }
    if let Some(format) = settings.codec {
        config.wire_format = format;
    }
    if let Some(datacenter) = settings.datacenter {
        config.datacenter = datacenter;
    }
    engine.apply(&mut config);
    let mut options = NodeOptions::new(bind, config);
    options.join = resolve_seeds(&settings.join)?;
    // A list of seeds may be the same on every machine: a node needs no telling of itself.
    let own = settings.advertise.unwrap_or(bind);
    options.join.retain(|seed| *seed != Address::from(own));
    options.backend = settings.backend.unwrap_or(BackendChoice::Auto);
    Ok(options)
}

/// The cluster's secret, from a file or else from the environment.
fn read_secret(file: Option<&Path>) -> Result<Secret, Failure> {
    let Some(path) = file else {
        let Some(text) = std::env::var_os("SHOAL_SECRET") else {
            return Err(Failure::usage(
                "no secret; make one with `shoal keygen --output FILE` and give --secret-file FILE \
                 (or set SHOAL_SECRET)",
            ));
        };
        let secret = Secret::new(text.into_encoded_bytes());
        return secret.map_err(|error| Failure::usage(format_args!("SHOAL_SECRET: {error}")));
    };
    let complain = |error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("secret file {}: {error}", path.display()))
    };
    let mut bytes = std::fs::read(path).map_err(|error| complain(&error))?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    let secret = Secret::new(bytes).map_err(|error| complain(&error))?;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!("secret file {0} is open to every user; chmod 600 {0}", path.display());
    }
    Ok(secret)
}

/// Looks the seeds up; a name with several addresses gives several seeds.
fn resolve_seeds(seeds: &[String]) -> Result<Vec<Address>, Failure> {
    let mut addresses = Vec::new();
    for seed in seeds {
        let found = seed.to_socket_addrs().map_err(|error| {
            Failure::usage(format_args!("--join {seed}: {error}; expected HOST:PORT"))
        })?;
        addresses.extend(found.map(Address::from));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// What a user chose is a usage error; what the system has none of is a failure.
fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Resources(_) | StartError::Pin { .. } | StartError::Stopped => {
            Failure::failed(error)
        }
        _ => Failure::usage(error),
    }
}

/// Prints events until a signal comes and the goodbye is sent.
fn serve(node: &Node, signals: &mut Signals, output: &Output) -> Result<(), Failure> {
    let started =
        Record::Started { address: node.address().to_string(), backend: node.backend().name() };
    let mut heard = write(output, &started)? == Written::Heard;
    let mut deadline: Option<Instant> = None;
    loop {
        let stop = !heard || signals.taken();
        if stop && deadline.is_none() {
            node.leave().map_err(Failure::failed)?;
            deadline = Some(Instant::now() + LEAVE_TIMEOUT);
        } else if signals.repeated() {
            return Err(Failure::failed("stopped by a second signal before the goodbye was sent"));
        }
        while let Some(event) = node.poll_event() {
            if let Some(record) = Record::from_event(&event, |at| node.unix_ms(at))
                && heard
            {
                heard = write(output, &record)? == Written::Heard;
            }
            if matches!(event, Event::Left { .. }) {
                return Ok(());
            }
        }
        let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if remaining == Some(Duration::ZERO) {
            return Err(Failure::failed(
                "the goodbye was not sent in time; peers will see a failure",
            ));
        }
        wait(node, signals, remaining)?;
    }
}

fn write(output: &Output, record: &Record) -> Result<Written, Failure> {
    output.write(record).map_err(|error| Failure::failed(format_args!("cannot write: {error}")))
}

/// Sleeps until an event, a signal or the deadline.
fn wait(node: &Node, signals: &Signals, timeout: Option<Duration>) -> Result<(), Failure> {
    let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("two seconds at most"));
    let event_fd = node.event_fd();
    let mut ready = [
        PollFd::from_borrowed_fd(event_fd, PollFlags::IN),
        PollFd::new(&signals.receiver, PollFlags::IN),
    ];
    match poll(&mut ready, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Failure::failed(format_args!("cannot wait for events: {error}"))),
    }
}

/// SIGINT and SIGTERM as bytes in a pipe, to be waited for together with other descriptors.
struct Signals {
    receiver: UnixStream,
    count: usize,
}

impl Signals {
    fn register() -> std::io::Result<Signals> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Signals { receiver, count: 0 })
    }

    /// Whether a signal has come so far.
    fn taken(&mut self) -> bool {
        let mut bytes = [0; 16];
        while let Ok(size @ 1..) = self.receiver.read(&mut bytes) {
            self.count += size;
        }
        self.count > 0
    }

    /// Whether another came after the first.
    fn repeated(&self) -> bool {
        self.count > 1
    }
}
