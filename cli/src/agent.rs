//! `shoal agent`: runs one node until it is told to stop, and prints what it sees.
//!
//! The node has its own thread; this one sleeps on the node's events and on signals, and wakes for
//! nothing else. SIGINT and SIGTERM make the node say goodbye, so that peers see it leave rather
//! than fail; a second signal, or no goodbye within [`LEAVE_TIMEOUT`], ends it anyway. SIGHUP makes
//! it read the key ring and the seeds again. Clients, metrics and snapshots are the business of a
//! third thread, [`control`](crate::control), which exists only when one of them is asked for.

use std::io::Read;
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shoal_core::config::{SECRET_COUNT_MAX, SEED_COUNT_MAX};
use shoal_core::io::{BackendChoice, Node, NodeError, NodeOptions, StartError};
use shoal_core::{Address, CommandError, Config, Event, Generation, Secret};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::control::{Bound, Options};
use crate::exit::Failure;
use crate::host::Host;
use crate::output::{Format, Output, Record, Written};
use crate::settings::{self, BIND_DEFAULT, Resolved, Settings};
use crate::snapshot::{self, Snapshot};

/// How long the goodbye may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a port in use is tried again, and how often.
const BIND_PATIENCE: Duration = Duration::from_secs(1);
const BIND_RETRY: Duration = Duration::from_millis(20);
/// Time between two snapshots unless another is told.
const SNAPSHOT_INTERVAL_MS: u64 = 30_000;

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

  shoal agent --control /run/shoal/control --metrics 127.0.0.1:9746 \\
      --snapshot /var/lib/shoal/snapshot
  shoal members --control /run/shoal/control

With --config the same names go into a TOML file. SHOAL_BIND and the like win over the file, flags
over both; `shoal config --check FILE` shows what comes out. The engine's tuning has its own table:
  bind = \"10.0.0.1:7462\"
  join = [\"10.0.0.2:7462\"]
  secret_file = \"/etc/shoal/secret.key\"
  [engine]
  probe_interval_ms = 500")]
pub struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Read settings from this TOML file; flags win
    #[arg(long, value_name = "FILE.toml", help_heading = "Operation")]
    config: Option<PathBuf>,
}

/// Where an agent's settings come from, to read them again.
#[derive(Clone, Debug)]
pub struct Source {
    flags: Settings,
    file: Option<PathBuf>,
    /// What came out the first time.
    effective: Vec<(String, Option<String>)>,
}

/// Settings as just read.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// What is told, and by whom.
    pub resolved: Resolved,
    /// The engine's configuration, checked.
    pub config: Config,
    /// The key ring.
    pub secrets: Vec<Secret>,
    /// The seeds, looked up.
    pub seeds: Vec<Address>,
}

impl Source {
    /// Reads settings for the first time.
    ///
    /// # Errors
    /// One line that says which setting has to change.
    pub fn new(flags: Settings, file: Option<PathBuf>) -> Result<(Source, Fresh), Failure> {
        let mut source = Source { flags, file, effective: Vec::new() };
        let fresh = source.read()?;
        source.effective = fresh.effective();
        Ok((source, fresh))
    }

    /// Reads them again.
    ///
    /// # Errors
    /// One line that says which setting has to change.
    pub fn read(&self) -> Result<Fresh, Failure> {
        let resolved = settings::resolve(&self.flags, self.file.as_deref())?;
        let settings = &resolved.settings;
        let secrets = read_secrets(settings.secret_file.as_deref())?;
        let advertise = settings.advertise.map_or(Address::UNSPECIFIED, Address::from);
        let mut config = Config::new(advertise, secrets[0].clone());
        config.secrets = secrets.clone();
        if let Some(role) = settings.role {
            config.role = role;
        }
        if let Some(datacenter) = settings.datacenter {
            config.datacenter = datacenter;
        }
        if let Some(format) = settings.codec {
            config.wire_format = format;
        }
        resolved.tuning.apply(&mut config);
        let mut checked = config.clone();
        if checked.advertise == Address::UNSPECIFIED {
            // Told by the socket once there is one.
            checked.advertise = "127.0.0.1:1".parse().expect("an address");
        }
        resolved.check(&checked, self.file.as_deref())?;
        let mut seeds = resolve_seeds(&settings.join)?;
        // A list of seeds may be the same on every machine: a node needs no telling of itself.
        let own = settings.advertise.unwrap_or(bind_address(settings));
        seeds.retain(|seed| *seed != Address::from(own));
        Ok(Fresh { resolved, config, secrets, seeds })
    }

    /// The settings that differ from the first time and that a running node cannot take over.
    pub fn differences(&self, fresh: &Fresh) -> Vec<String> {
        let now = fresh.effective();
        let changed = self.effective.iter().zip(&now).filter(|(before, now)| before != now);
        changed.map(|((key, _), _)| key.clone()).filter(|key| key != "join").collect()
    }
}

impl Fresh {
    fn effective(&self) -> Vec<(String, Option<String>)> {
        let values = self.resolved.effective(&self.config).into_iter();
        values.map(|(key, value, _)| (key, value)).collect()
    }

    /// What the node is started with.
    fn node_options(&self) -> Result<NodeOptions, Failure> {
        let settings = &self.resolved.settings;
        let bind = bind_address(settings);
        if settings.advertise.is_none() && bind.ip().is_unspecified() {
            return Err(Failure::usage(format_args!(
                "peers cannot reach {bind}; add --advertise with the address they use, or --bind \
                 to one address"
            )));
        }
        let mut options = NodeOptions::new(bind, self.config.clone());
        options.join.clone_from(&self.seeds);
        options.backend = settings.backend.unwrap_or(BackendChoice::Auto);
        Ok(options)
    }

    /// What the control plane is started with.
    fn control_options(&self) -> Options {
        let settings = &self.resolved.settings;
        let interval_ms = settings.snapshot_interval_ms.unwrap_or(SNAPSHOT_INTERVAL_MS);
        Options {
            control: settings.control.clone(),
            metrics: settings.metrics,
            snapshot: settings.snapshot.clone(),
            snapshot_interval: Duration::from_millis(interval_ms),
        }
    }
}

/// Runs the command. Where programs read the events, they also read why the agent failed.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut format = arguments.settings.format.unwrap_or_default();
    run_node(arguments, &mut format).inspect_err(|failure| {
        if format == Format::Json {
            // The same line goes to stderr, so a reader that has gone away misses nothing.
            let _ = Output::new(format).write(&Record::Error {
                message: failure.message().to_owned(),
                at_ms: unix_now().as_millis() as u64,
            });
        }
    })
}

/// Runs the node, and tells in which format as soon as that is known.
fn run_node(arguments: &Arguments, format: &mut Format) -> Result<(), Failure> {
    let (source, fresh) = Source::new(arguments.settings.clone(), arguments.config.clone())?;
    *format = fresh.resolved.settings.format.unwrap_or_default();
    let mut options = fresh.node_options()?;
    let control = fresh.control_options();
    let remembered = control.snapshot.as_deref().map(snapshot::load).transpose()?.flatten();
    if let Some(remembered) = &remembered {
        ask_remembered(&mut options, remembered);
    }
    let bound = Bound::bind(control)?;
    // From here on a signal means "leave", even one that comes while the node starts.
    let mut signals = Signals::register().map_err(Failure::failed)?;
    let node = start_node(&options)?;
    if let Some(remembered) = &remembered {
        let refused = node.restore_coordinate((&remembered.place).into());
        if let Some(reason) = refused.map_err(Failure::failed)? {
            tracing::warn!(?reason, "the coordinate of the snapshot is not used");
        }
    }
    if let Some(address) = bound.metrics_address() {
        tracing::debug!(%address, "metrics are served");
    }
    let host = Arc::new(Host::new(node, source, fresh.secrets, fresh.seeds));
    let plane = bound.start(Arc::clone(&host))?;
    serve(&host, plane.is_some(), &mut signals, &Output::new(*format))
}

/// Starts the node. The kernel gives the port of an agent that has just ended free a moment after
/// the process is gone, so a port in use is tried again for a while.
fn start_node(options: &NodeOptions) -> Result<Node, Failure> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match Node::start(options.clone()) {
            Err(StartError::AddressInUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(BIND_RETRY);
            }
            started => return started.map_err(start_failure),
        }
    }
}

/// Lets a node look for the members that its earlier run knew, and continue after that run.
fn ask_remembered(options: &mut NodeOptions, remembered: &Snapshot) {
    for seed in remembered.seeds() {
        if options.join.len() < SEED_COUNT_MAX && !options.join.contains(&seed) {
            options.join.push(seed);
        }
    }
    // A later run has to have a larger generation, even on a clock that was set back meanwhile.
    let wall = unix_now().as_nanos() as u64;
    options.config.generation = Generation(wall.max(remembered.generation.saturating_add(1)));
}

/// The time since 1970, by the wall clock.
fn unix_now() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

fn bind_address(settings: &Settings) -> std::net::SocketAddr {
    settings.bind.unwrap_or_else(|| BIND_DEFAULT.parse().expect("the default is an address"))
}

/// The key ring, from a file or else from the environment. A file has one secret per line:
/// datagrams are sealed with the first and opened with any.
fn read_secrets(file: Option<&Path>) -> Result<Vec<Secret>, Failure> {
    let Some(path) = file else {
        let Some(text) = std::env::var_os("SHOAL_SECRET") else {
            return Err(Failure::usage(
                "no secret; make one with `shoal keygen --output FILE` and give --secret-file FILE \
                 (or set SHOAL_SECRET)",
            ));
        };
        let secret = Secret::new(text.into_encoded_bytes());
        let secret = secret.map_err(|error| Failure::usage(format_args!("SHOAL_SECRET: {error}")));
        return Ok(vec![secret?]);
    };
    let complain = |error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("secret file {}: {error}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| complain(&error))?;
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let secrets = lines.filter(|line| !line.is_empty()).map(Secret::new);
    let secrets: Vec<Secret> =
        secrets.collect::<Result<_, _>>().map_err(|error| complain(&error))?;
    if !(1..=SECRET_COUNT_MAX).contains(&secrets.len()) {
        let count = secrets.len();
        return Err(complain(&format_args!(
            "{count} secrets, expected 1 to {SECRET_COUNT_MAX}, one per line"
        )));
    }
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!("secret file {0} is open to every user; chmod 600 {0}", path.display());
    }
    Ok(secrets)
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
fn serve(
    host: &Host,
    has_clients: bool,
    signals: &mut Signals,
    output: &Output,
) -> Result<(), Failure> {
    let node = &host.node;
    let started =
        Record::Started { address: node.address().to_string(), backend: node.backend().name() };
    let mut heard = write(output, &started)? == Written::Heard;
    let mut deadline: Option<Instant> = None;
    loop {
        if signals.reload_asked()
            && let Err(error) = host.reload()
        {
            tracing::warn!(%error, "the settings stay as they are");
            let message = format!("the settings stay as they are: {error}");
            let record = Record::Error { message, at_ms: unix_now().as_millis() as u64 };
            if has_clients {
                host.journal.note(&record);
            }
            heard = heard && write(output, &record)? == Written::Heard;
        }
        let stop = !heard || signals.taken();
        if stop && deadline.is_none() {
            match node.leave() {
                // A client asked for it a moment ago.
                Ok(()) | Err(NodeError::Refused(CommandError::Leaving)) => {}
                Err(error) => return Err(Failure::failed(error)),
            }
            deadline = Some(Instant::now() + LEAVE_TIMEOUT);
        } else if signals.repeated() {
            return Err(Failure::failed("stopped by a second signal before the goodbye was sent"));
        }
        while let Some(event) = node.poll_event() {
            if let Some(record) = Record::from_event(&event, |at| node.unix_ms(at)) {
                if has_clients {
                    host.journal.note(&record);
                }
                if heard {
                    heard = write(output, &record)? == Written::Heard;
                }
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
        PollFd::new(&signals.reload, PollFlags::IN),
    ];
    match poll(&mut ready, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Failure::failed(format_args!("cannot wait for events: {error}"))),
    }
}

/// Signals as bytes in pipes, to be waited for together with other descriptors: SIGINT and SIGTERM
/// in one, SIGHUP in the other.
struct Signals {
    receiver: UnixStream,
    reload: UnixStream,
    count: usize,
}

impl Signals {
    fn register() -> std::io::Result<Signals> {
        let pipe = |signals: &[i32]| {
            let (receiver, sender) = UnixStream::pair()?;
            receiver.set_nonblocking(true)?;
            for signal in signals {
                signal_hook::low_level::pipe::register(*signal, sender.try_clone()?)?;
            }
            Ok::<_, std::io::Error>(receiver)
        };
        Ok(Signals { receiver: pipe(&[SIGINT, SIGTERM])?, reload: pipe(&[SIGHUP])?, count: 0 })
    }

    /// Whether a signal has come so far.
    fn taken(&mut self) -> bool {
        self.count += drain(&mut self.receiver);
        self.count > 0
    }

    /// Whether another came after the first.
    fn repeated(&self) -> bool {
        self.count > 1
    }

    /// Whether a reload was asked for since the last time.
    fn reload_asked(&mut self) -> bool {
        drain(&mut self.reload) > 0
    }
}

/// How many bytes wait in a pipe.
fn drain(pipe: &mut UnixStream) -> usize {
    let (mut bytes, mut count) = ([0; 16], 0);
    while let Ok(size @ 1..) = pipe.read(&mut bytes) {
        count += size;
    }
    count
}
