//! What an agent is told: flags over a TOML file over defaults.
//!
//! [`Settings`] is declared once and read twice, by clap from the command line and by serde from
//! the file, so the two can not drift apart. The file may also hold an `[engine]` table with the
//! engine's tuning. Unknown keys are errors that name the nearest key: a setting that silently does
//! nothing is worse than none.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Deserializer};
use shoal_core::io::BackendChoice;
use shoal_core::{Config, DatacenterName, Role, WireFormat};

use crate::exit::Failure;
use crate::output::Format;

/// Where an agent listens unless it is told otherwise: on this machine alone, so that nothing is
/// exposed by accident. 7462 is S-H-O-A on a telephone's keys.
pub const BIND_DEFAULT: &str = "127.0.0.1:7462";

/// The settings that flags and file share. `None` is "not told".
#[derive(Args, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Settings {
    /// Listen on this address; port 0 takes a free one [default: 127.0.0.1:7462]
    #[arg(long, value_name = "ADDR")]
    #[serde(deserialize_with = "from_text")]
    pub bind: Option<SocketAddr>,
    /// Tell peers this address instead, for example behind NAT or in a container
    #[arg(long, value_name = "ADDR")]
    #[serde(deserialize_with = "from_text")]
    pub advertise: Option<SocketAddr>,
    /// Join the cluster through this node, HOST:PORT; repeat for more. Without it, start a cluster
    #[arg(long, value_name = "ADDR")]
    pub join: Vec<String>,
    /// What this node does: gate, manager or worker [default: manager]
    #[arg(long, value_name = "ROLE")]
    #[serde(deserialize_with = "from_text")]
    pub role: Option<Role>,
    /// Where this node runs [default: default]
    #[arg(long, value_name = "NAME")]
    #[serde(deserialize_with = "from_text")]
    pub datacenter: Option<DatacenterName>,
    /// Read the cluster's secret from this file; otherwise it is in $SHOAL_SECRET. See `shoal
    /// keygen`
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The datagrams to begin with: native, or hyperscale among its Python nodes [default: native]
    #[arg(long, alias = "wire", value_name = "native|hyperscale")]
    #[serde(deserialize_with = "from_text")]
    pub codec: Option<WireFormat>,
    /// How to do I/O: auto takes io_uring where the system allows it [default: auto]
    #[arg(long, value_name = "auto|uring|poll")]
    #[serde(deserialize_with = "from_text")]
    pub backend: Option<BackendChoice>,
    /// How to print events [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
}

impl Settings {
    /// These settings, completed by others where they say nothing.
    fn or(self, other: Settings) -> Settings {
        Settings {
            bind: self.bind.or(other.bind),
            advertise: self.advertise.or(other.advertise),
            join: if self.join.is_empty() { other.join } else { self.join },
            role: self.role.or(other.role),
            datacenter: self.datacenter.or(other.datacenter),
            secret_file: self.secret_file.or(other.secret_file),
            codec: self.codec.or(other.codec),
            backend: self.backend.or(other.backend),
            format: self.format.or(other.format),
        }
    }
}

/// Declares the engine's tuning once: the file's keys, their types, and where they go.
macro_rules! engine_settings {
    ($($key:ident: $kind:ty,)*) => {
        /// The `[engine]` table: fields of [`Config`] under their own names.
        #[derive(Deserialize, Clone, Debug, Default, PartialEq)]
        #[serde(default)]
        pub struct EngineSettings {
            $($key: Option<$kind>,)*
        }

        impl EngineSettings {
            const KEYS: &[&str] = &[$(stringify!($key),)*];

            /// Puts what was told into a configuration, whose own check judges the values.
            pub fn apply(&self, config: &mut Config) {
                $(if let Some(value) = self.$key { config.$key = value; })*
            }
        }
    };
}

engine_settings! {
    probe_interval_ms: u64,
    probe_timeout_min_ms: u64,
    probe_timeout_unknown_ms: u64,
    indirect_probe_count: usize,
    suspicion_min_factor: f64,
    suspicion_max_factor: f64,
    gossip_factor: u32,
    gossip_interval_ms: u64,
    gossip_fanout: usize,
    sync_interval_ms: u64,
    join_interval_ms: u64,
    dead_retention_ms: u64,
    confirmation_timeout_ms: [u64; 3],
    confirmation_interval_ms: u64,
    confirmation_attempts: [u8; 3],
    member_capacity: u32,
    session_capacity: u32,
    source_request_rate: u32,
    transmit_capacity: u32,
    event_capacity: u32,
    probe_capacity: u32,
}

/// A whole file.
#[derive(Deserialize, Clone, Debug, Default, PartialEq)]
struct File {
    #[serde(flatten)]
    settings: Settings,
    #[serde(default)]
    engine: EngineSettings,
}

/// Completes the flags from a file, if there is one.
///
/// # Errors
/// When the file cannot be read, is no TOML, or holds an unknown key or an unusable value.
pub fn resolve(
    flags: &Settings,
    file: Option<&Path>,
) -> Result<(Settings, EngineSettings), Failure> {
    let Some(path) = file else { return Ok((flags.clone(), EngineSettings::default())) };
    let complain =
        |message: &dyn Display| Failure::usage(format_args!("{}: {message}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| complain(&error))?;
    let file = parse(&text).map_err(|message| complain(&message))?;
    Ok((flags.clone().or(file.settings), file.engine))
}

fn parse(text: &str) -> Result<File, String> {
    let describe = |error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{}", error.message().replace('\n', ", "))
    };
    let table: toml::Table = toml::from_str(text).map_err(describe)?;
    let arguments = Settings::augment_args(clap::Command::new("agent"));
    let mut keys: Vec<&str> =
        arguments.get_arguments().map(|known| known.get_id().as_str()).collect();
    keys.push("engine");
    refuse_unknown(table.keys(), &keys)?;
    if let Some(engine) = table.get("engine").and_then(toml::Value::as_table) {
        refuse_unknown(engine.keys(), EngineSettings::KEYS)?;
    }
    toml::from_str(text).map_err(describe)
}

fn refuse_unknown<'a>(
    keys: impl Iterator<Item = &'a String>,
    known: &[&str],
) -> Result<(), String> {
    for key in keys {
        if !known.contains(&key.as_str()) {
            let distance = |name: &&&str| strsim::damerau_levenshtein(key, name);
            let nearest = known.iter().min_by_key(distance).expect("some key is known");
            return Err(format!("unknown key {key:?}, the nearest is {nearest:?}"));
        }
    }
    Ok(())
}

/// Reads a value through its text form, so that file and flags accept the same words.
fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_what_flags_leave_open() {
        let file = parse(
            "bind = \"127.0.0.1:1\"\njoin = [\"a:1\", \"b:2\"]\nrole = \"gate\"\n\
             [engine]\nprobe_interval_ms = 250\nconfirmation_attempts = [1, 2, 0]",
        )
        .unwrap();
        let flags = Settings { bind: Some("127.0.0.1:2".parse().unwrap()), ..Settings::default() };
        let settings = flags.or(file.settings);
        assert_eq!(settings.bind.unwrap().port(), 2);
        assert_eq!((settings.role, settings.join.len()), (Some(Role::Gate), 2));
        let secret = shoal_core::Secret::new(*b"sixteen bytes ok").unwrap();
        let mut config = Config::new("127.0.0.1:1".parse().unwrap(), secret);
        file.engine.apply(&mut config);
        assert_eq!((config.probe_interval_ms, config.confirmation_attempts), (250, [1, 2, 0]));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let message = parse("rolle = \"gate\"").unwrap_err();
        assert_eq!(message, "unknown key \"rolle\", the nearest is \"role\"");
        let message = parse("[engine]\nprobe_intervall = 1").unwrap_err();
        assert_eq!(
            message,
            "unknown key \"probe_intervall\", the nearest is \"probe_interval_ms\""
        );
    }

    #[test]
    fn a_bad_value_names_its_line() {
        let message = parse("bind = \"127.0.0.1:1\"\nrole = \"client\"").unwrap_err();
        assert!(message.contains("expected gate, manager or worker"), "{message}");
        let message = parse("bind = ").unwrap_err();
        assert!(message.starts_with("line 1: ") && !message.contains('\n'), "{message}");
    }
}
