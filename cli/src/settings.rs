//! What an agent is told: flags over the environment over a TOML file over defaults.
//!
//! [`Settings`] is declared once and read three times, by clap from the command line and by serde
//! from the file and from `SHOAL_*` variables, so they can not drift apart. The file may also hold
//! the tables of [`tuning`](crate::tuning). Unknown keys are errors that name the nearest key:
//! a setting that silently does nothing is worse than none. Only in the environment, where others
//! put names, too (Kubernetes makes `SHOAL_SERVICE_HOST` of a service), just a near miss is an
//! error.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer};
use shoal_core::io::BackendChoice;
use shoal_core::{Config, ConfigError, DatacenterName, Role, WireFormat};

use crate::exit::Failure;
use crate::output::Format;
use crate::tuning::Tuning;

/// Where an agent listens unless it is told otherwise: on this machine alone, so that nothing is
/// exposed by accident. 7462 is S-H-O-A on a telephone's keys.
pub const BIND_DEFAULT: &str = "127.0.0.1:7462";

/// The settings that flags and file share. `None` is "not told".
#[derive(Args, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Settings {
    /// Listen on this address; port 0 takes a free one [default: 127.0.0.1:7462]
    #[arg(long, help_heading = "Cluster", value_name = "IP:PORT", value_parser = address)]
    #[serde(deserialize_with = "from_address")]
    pub bind: Option<SocketAddr>,
    /// Tell peers this address instead, for example behind NAT or in a container
    #[arg(long, help_heading = "Cluster", value_name = "IP:PORT", value_parser = address)]
    #[serde(deserialize_with = "from_address")]
    pub advertise: Option<SocketAddr>,
    /// Join the cluster through this node; repeat for more. Without it, start a cluster
    #[arg(long, help_heading = "Cluster", value_name = "HOST:PORT")]
    pub join: Vec<String>,
    /// What this node does [default: manager]
    #[arg(long, help_heading = "Cluster", value_name = "gate|manager|worker")]
    #[serde(deserialize_with = "from_text")]
    pub role: Option<Role>,
    /// Where this node runs [default: default]
    #[arg(long, help_heading = "Cluster", value_name = "NAME")]
    #[serde(deserialize_with = "from_text")]
    pub datacenter: Option<DatacenterName>,
    /// Read the cluster's secret from this file; otherwise it is in $SHOAL_SECRET. See `shoal
    /// keygen`
    #[arg(long, help_heading = "Cluster", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The datagrams to begin with: native, or hyperscale among its Python nodes [default: native]
    #[arg(long, help_heading = "Datagrams", alias = "wire", value_name = "native|hyperscale")]
    #[serde(deserialize_with = "from_text")]
    pub codec: Option<WireFormat>,
    /// How to do I/O: auto takes io_uring where the system allows it [default: auto]
    #[arg(long, help_heading = "Datagrams", value_name = "auto|uring|poll")]
    #[serde(deserialize_with = "from_text")]
    pub backend: Option<BackendChoice>,
    /// How to print events: for people, or one JSON object per line [default: text]
    #[arg(
        long,
        help_heading = "Operation",
        value_enum,
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub format: Option<Format>,
    /// Answer `shoal members` and the other commands on this Unix socket
    #[arg(long, help_heading = "Operation", value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Serve OpenMetrics text over HTTP at this address, under /metrics
    #[arg(long, help_heading = "Operation", value_name = "IP:PORT", value_parser = address)]
    #[serde(deserialize_with = "from_address")]
    pub metrics: Option<SocketAddr>,
    /// Remember members and coordinates in this file across restarts
    #[arg(long, help_heading = "Operation", value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Time between two snapshots, 10 to 3600000 [default: 30000]
    #[arg(long, help_heading = "Operation", value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub snapshot_interval_ms: Option<u64>,
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
            control: self.control.or(other.control),
            metrics: self.metrics.or(other.metrics),
            snapshot: self.snapshot.or(other.snapshot),
            snapshot_interval_ms: self.snapshot_interval_ms.or(other.snapshot_interval_ms),
        }
    }

    /// Every setting with its value as text, `None` where it is not told.
    fn values(&self) -> Vec<(&'static str, Option<String>)> {
        fn text<T: ToString>(value: &Option<T>) -> Option<String> {
            value.as_ref().map(T::to_string)
        }
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        vec![
            ("bind", text(&self.bind)),
            ("advertise", text(&self.advertise)),
            ("join", (!self.join.is_empty()).then(|| self.join.join(","))),
            ("role", text(&self.role)),
            ("datacenter", text(&self.datacenter)),
            ("secret_file", path(&self.secret_file)),
            ("codec", self.codec.map(|codec| codec.name().to_owned())),
            ("backend", self.backend.map(|backend| format!("{backend:?}").to_lowercase())),
            ("format", self.format.map(name_of)),
            ("control", path(&self.control)),
            ("metrics", text(&self.metrics)),
            ("snapshot", path(&self.snapshot)),
            ("snapshot_interval_ms", text(&self.snapshot_interval_ms)),
        ]
    }
}

/// A value's name on the command line.
fn name_of<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// What holds where nothing is told, as text; `None` where nothing does.
fn default_of(key: &str) -> Option<&'static str> {
    Some(match key {
        "bind" => BIND_DEFAULT,
        "role" => "manager",
        "datacenter" => "default",
        "codec" => "native",
        "backend" => "auto",
        "format" => "text",
        "snapshot_interval_ms" => "30000",
        _ => return None,
    })
}

/// A whole file. Each of the two ignores what belongs to the other.
#[derive(Clone, Debug, Default, PartialEq)]
struct File {
    settings: Settings,
    tuning: Tuning,
}

impl File {
    fn read(table: toml::Table) -> Result<File, toml::de::Error> {
        Ok(File { settings: table.clone().try_into()?, tuning: table.try_into()? })
    }
}

/// Where a value comes from. The later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the file.
    File,
    /// This variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => formatter.pad("default"),
            Origin::File => formatter.pad("file"),
            Origin::Environment(name) => formatter.pad(name),
            Origin::Flag => formatter.pad("flag"),
        }
    }
}

/// Everything that an agent is told, and by whom.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What flags, environment and file say together.
    pub settings: Settings,
    /// What the tables of the file say.
    pub tuning: Tuning,
    flags: Settings,
    environment: File,
    file: File,
}

impl Resolved {
    /// Every setting with its effective value and origin, those of tables as `TABLE.KEY`.
    pub fn effective(&self, config: &Config) -> Vec<(String, Option<String>, Origin)> {
        let told_by = |settings: &Settings, key: &str| {
            settings.values().iter().any(|(name, value)| *name == key && value.is_some())
        };
        let plain = self.settings.values().into_iter().map(|(key, value)| {
            let origin = if told_by(&self.flags, key) {
                Origin::Flag
            } else if told_by(&self.environment.settings, key) {
                Origin::Environment(variable(key))
            } else if told_by(&self.file.settings, key) {
                Origin::File
            } else {
                Origin::Default
            };
            (key.to_owned(), value.or_else(|| default_of(key).map(str::to_owned)), origin)
        });
        let tuning = Tuning::values(config).into_iter().map(|(table, key, value)| {
            let origin = if self.environment.tuning.has(table, key) {
                Origin::Environment(tuning_variable(table, key))
            } else if self.file.tuning.has(table, key) {
                Origin::File
            } else {
                Origin::Default
            };
            (format!("{table}.{key}"), Some(value), origin)
        });
        plain.chain(tuning).collect()
    }

    /// Says whether an engine can run with a configuration that this was applied to.
    ///
    /// # Errors
    /// One line that says which setting has to change, and where it stands.
    pub fn check(&self, config: &Config, file: Option<&Path>) -> Result<(), Failure> {
        let Err((table, error)) = Tuning::check(config) else { return Ok(()) };
        let ConfigError::OutOfRange { setting, .. } = error else {
            return Err(Failure::usage(error));
        };
        let place = if self.environment.tuning.has(table, setting) {
            format!("{}: ", tuning_variable(table, setting))
        } else {
            file.map(|file| format!("{}: ", file.display())).unwrap_or_default()
        };
        Err(Failure::usage(format_args!("{place}[{table}]: {error}")))
    }
}

/// Completes the flags from the environment and from a file, if there is one.
///
/// # Errors
/// When the file cannot be read, is no TOML, or either holds an unknown key or an unusable value.
pub fn resolve(flags: &Settings, path: Option<&Path>) -> Result<Resolved, Failure> {
    let file = match path {
        None => File::default(),
        Some(path) => {
            let complain = |message: &dyn Display| {
                Failure::usage(format_args!("{}: {message}", path.display()))
            };
            let text = std::fs::read_to_string(path).map_err(|error| complain(&error))?;
            parse(&text).map_err(|message| complain(&message))?
        }
    };
    let environment = read_environment(std::env::vars()).map_err(Failure::usage)?;
    let settings = flags.clone().or(environment.settings.clone()).or(file.settings.clone());
    if let Some(ms) = settings.snapshot_interval_ms.filter(|ms| !(10..=3_600_000).contains(ms)) {
        let place = match (environment.settings.snapshot_interval_ms, path) {
            (None, Some(path)) => path.display().to_string(),
            _ => variable("snapshot_interval_ms"),
        };
        return Err(Failure::usage(format_args!(
            "{place}: snapshot_interval_ms is {ms}, expected 10 to 3600000"
        )));
    }
    let tuning = environment.tuning.clone().or(file.tuning.clone());
    Ok(Resolved { settings, tuning, flags: flags.clone(), environment, file })
}

/// The variable of a setting.
fn variable(key: &str) -> String {
    format!("SHOAL_{}", key.to_uppercase())
}

/// The variable of a setting in a table.
fn tuning_variable(table: &str, key: &str) -> String {
    variable(&format!("{table}_{key}"))
}

/// Variables that are no settings of an agent but mean something to the program, or to its tests.
const OTHER_VARIABLES: [&str; 3] = ["SHOAL_SECRET", "SHOAL_LOG", "SHOAL_LOG_FORMAT"];
/// A name this many edits away from one that means something is taken for a mistake.
const NEAR_MISS: usize = 2;

/// A variable that means something, and where it stands in a file.
struct Known {
    variable: String,
    table: Option<&'static str>,
    key: String,
}

/// Every variable that stands for a setting.
fn known_variables() -> Vec<Known> {
    let plain = keys().into_iter().map(|key| Known { variable: variable(&key), table: None, key });
    let tuning = Tuning::TABLES.iter().flat_map(|(table, keys)| {
        keys.iter().map(|key| Known {
            variable: tuning_variable(table, key),
            table: Some(table),
            key: (*key).to_owned(),
        })
    });
    plain.chain(tuning).collect()
}

/// Reads `SHOAL_*` variables as if they stood in a file.
fn read_environment(variables: impl Iterator<Item = (String, String)>) -> Result<File, String> {
    let known = known_variables();
    let mut file = toml::Table::new();
    for (name, text) in
        variables.filter(|(name, text)| name.starts_with("SHOAL_") && !text.is_empty())
    {
        if OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let Some(Known { table, key, .. }) = known.iter().find(|known| known.variable == name)
        else {
            let others = OTHER_VARIABLES.iter().copied();
            let names = known.iter().map(|known| known.variable.as_str()).chain(others);
            let distance = |known: &&str| strsim::damerau_levenshtein(&name, known);
            let nearest = names.min_by_key(distance).filter(|near| distance(near) <= NEAR_MISS);
            match nearest {
                Some(nearest) => {
                    return Err(format!("unknown variable {name}, the nearest is {nearest}"));
                }
                None => continue,
            }
        };
        let mut single = toml::Table::new();
        let value = value_of(key, table.is_some(), &text);
        let value = value.map_err(|error| format!("{name} is {text:?}: {error}"))?;
        single.insert(key.clone(), value.clone());
        if let Some(table) = table {
            single = [((*table).to_owned(), single.into())].into_iter().collect();
        }
        // Read alone first, so that the variable at fault can be named.
        let complain = |error: toml::de::Error| format!("{name}: {}", describe(&error));
        File::read(single).map_err(complain)?;
        match table {
            None => drop(file.insert(key.clone(), value)),
            Some(table) => {
                let inner = file.entry(*table).or_insert_with(|| toml::Table::new().into());
                let inner = inner.as_table_mut().expect("only tables have these names");
                inner.insert(key.clone(), value);
            }
        }
    }
    File::read(file).map_err(|error| describe(&error))
}

/// A variable's text as a value of a file.
fn value_of(key: &str, is_tuning: bool, text: &str) -> Result<toml::Value, String> {
    let list = |text: &str| text.split(',').map(|part| part.trim().to_owned().into()).collect();
    match key {
        "join" => Ok(toml::Value::Array(list(text))),
        "snapshot_interval_ms" => parse_value(text),
        _ if is_tuning => parse_value(text),
        _ => Ok(text.into()),
    }
}

fn parse_value(text: &str) -> Result<toml::Value, String> {
    let table: toml::Table = toml::from_str(&format!("value = {text}"))
        .map_err(|_| "expected a number or a list of numbers".to_owned())?;
    Ok(table["value"].clone())
}

/// The names of all settings that stand in no table.
fn keys() -> Vec<String> {
    let arguments = Settings::augment_args(clap::Command::new("agent"));
    arguments.get_arguments().map(|known| known.get_id().as_str().to_owned()).collect()
}

fn parse(text: &str) -> Result<File, String> {
    let describe = |error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{}", describe(&error))
    };
    let table: toml::Table = toml::from_str(text).map_err(describe)?;
    let known = keys();
    let tables = Tuning::TABLES.iter().map(|(table, _)| *table);
    let keys: Vec<&str> = known.iter().map(String::as_str).chain(tables).collect();
    refuse_unknown(table.keys(), &keys)?;
    for (name, keys) in Tuning::TABLES {
        if let Some(table) = table.get(name).and_then(toml::Value::as_table) {
            refuse_unknown(table.keys(), keys).map_err(|error| format!("[{name}]: {error}"))?;
        }
    }
    let settings = toml::from_str(text).map_err(describe)?;
    let tuning = toml::from_str(text).map_err(describe)?;
    Ok(File { settings, tuning })
}

/// What the reader of TOML says, in words that an operator knows.
fn describe(error: &toml::de::Error) -> String {
    let mut message = error.message().replace('\n', ", ");
    for (word, meaning) in [
        ("expected a sequence", "expected a list, as in [\"10.0.0.2:7462\"]"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected text in quotes"),
        ("expected usize", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected u8", "expected a whole number"),
        ("expected f64", "expected a number"),
    ] {
        message = message.replace(word, meaning);
    }
    message
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

/// The same for an address, with an error that shows what one looks like.
fn from_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    address(&text).map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected IP:PORT, as in 10.0.0.1:7462 or [fd00::1]:7462")
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
        file.tuning.apply(&mut config);
        assert_eq!((config.probe_interval_ms, config.confirmation_attempts), (250, [1, 2, 0]));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let message = parse("rolle = \"gate\"").unwrap_err();
        assert_eq!(message, "unknown key \"rolle\", the nearest is \"role\"");
        let message = parse("[engine]\nprobe_intervall = 1").unwrap_err();
        assert_eq!(
            message,
            "[engine]: unknown key \"probe_intervall\", the nearest is \"probe_interval_ms\""
        );
    }

    #[test]
    fn a_bad_value_names_its_line() {
        let message = parse("bind = \"127.0.0.1:1\"\nrole = \"client\"").unwrap_err();
        assert!(message.contains("expected gate, manager or worker"), "{message}");
        let message = parse("bind = ").unwrap_err();
        assert!(message.starts_with("line 1: ") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn tables_set_what_they_name() {
        let text = "[engine]\nprobe_interval_ms = 250\n[federation]\nprobe_interval_ms = 500\n\
                    manager_count_min = 3\n[routing]\nhold_down_ms = 5_000";
        let secret = shoal_core::Secret::new(*b"sixteen bytes ok").unwrap();
        let mut config = Config::new("127.0.0.1:1".parse().unwrap(), secret);
        parse(text).unwrap().tuning.apply(&mut config);
        assert_eq!((config.probe_interval_ms, config.federation.probe_interval_ms), (250, 500));
        assert_eq!(config.federation.manager_count_min, 3);
        assert_eq!(config.routing.hysteresis.hold_down_ms, 5_000);
        let error = parse("role = \"gate\"\n\n[routing]\nhold_down_ms = \"long\"").unwrap_err();
        assert!(error.starts_with("line 4: ") && error.contains("whole number"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_names_its_place() {
        let secret = shoal_core::Secret::new(*b"sixteen bytes ok").unwrap();
        let mut config = Config::new("127.0.0.1:1".parse().unwrap(), secret);
        let environment = environment(&[("SHOAL_FEDERATION_PROBE_INTERVAL_MS", "1")]).unwrap();
        let tuning = environment.tuning.clone();
        tuning.apply(&mut config);
        let (settings, flags) = (Settings::default(), Settings::default());
        let resolved = Resolved { settings, tuning, flags, environment, file: File::default() };
        let error = resolved.check(&config, Some(Path::new("shoal.toml"))).unwrap_err();
        assert_eq!(
            error.message(),
            "SHOAL_FEDERATION_PROBE_INTERVAL_MS: [federation]: probe_interval_ms is 1, expected \
             10 to 3600000"
        );
        config.federation.probe_interval_ms = 1_000;
        config.gossip_fanout = 0;
        let error = resolved.check(&config, Some(Path::new("shoal.toml"))).unwrap_err();
        assert_eq!(error.message(), "shoal.toml: [engine]: gossip_fanout is 0, expected 1 to 16");
    }

    fn environment(variables: &[(&str, &str)]) -> Result<File, String> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read_environment(owned)
    }

    #[test]
    fn the_environment_stands_between_file_and_flags() {
        let environment = environment(&[
            ("SHOAL_BIND", "127.0.0.1:3"),
            ("SHOAL_JOIN", "a:1, b:2"),
            ("SHOAL_ENGINE_PROBE_INTERVAL_MS", "300"),
            ("SHOAL_ENGINE_CONFIRMATION_ATTEMPTS", "[1, 2, 0]"),
            ("SHOAL_LOG", "info"),
            ("SHOAL_SERVICE_HOST", "10.0.0.1"),
            ("HOME", "/"),
        ])
        .unwrap();
        let file = parse("bind = \"127.0.0.1:1\"\nrole = \"gate\"\n[engine]\ngossip_fanout = 2");
        let file = file.unwrap();
        let flags = Settings { role: Some(Role::Worker), ..Settings::default() };
        let settings = flags.clone().or(environment.settings.clone()).or(file.settings.clone());
        let tuning = environment.tuning.clone().or(file.tuning.clone());
        let secret = shoal_core::Secret::new(*b"sixteen bytes ok").unwrap();
        let mut config = Config::new("127.0.0.1:1".parse().unwrap(), secret);
        tuning.apply(&mut config);
        let resolved = Resolved { settings, tuning, flags, environment, file };
        let effective = resolved.effective(&config);
        let find = |key: &str| {
            let (_, value, origin) = effective.iter().find(|(name, ..)| name == key).unwrap();
            format!("{} ({origin})", value.as_deref().unwrap_or("-"))
        };
        assert_eq!(find("bind"), "127.0.0.1:3 (SHOAL_BIND)");
        assert_eq!(find("join"), "a:1,b:2 (SHOAL_JOIN)");
        assert_eq!(find("role"), "worker (flag)");
        assert_eq!(find("metrics"), "- (default)");
        assert_eq!(find("codec"), "native (default)");
        let interval = find("engine.probe_interval_ms");
        assert_eq!(interval, "300 (SHOAL_ENGINE_PROBE_INTERVAL_MS)");
        assert_eq!(find("engine.gossip_fanout"), "2 (file)");
        assert_eq!(find("engine.gossip_factor"), "4 (default)");
    }

    #[test]
    fn a_mistaken_variable_is_named() {
        let error = environment(&[("SHOAL_ROEL", "gate")]).unwrap_err();
        assert_eq!(error, "unknown variable SHOAL_ROEL, the nearest is SHOAL_ROLE");
        let error = environment(&[("SHOAL_ROLE", "client")]).unwrap_err();
        assert!(error.starts_with("SHOAL_ROLE") && error.contains("expected gate"), "{error}");
        let error = environment(&[("SHOAL_ENGINE_GOSSIP_FANOUT", "many")]).unwrap_err();
        assert!(error.starts_with("SHOAL_ENGINE_GOSSIP_FANOUT"), "{error}");
    }

    #[test]
    fn every_setting_is_shown() {
        let shown: Vec<&str> = Settings::default().values().iter().map(|(key, _)| *key).collect();
        assert_eq!(keys(), shown);
    }
}
