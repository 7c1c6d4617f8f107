//! `shoal config`: what an agent would run with, and who says so.

use std::path::PathBuf;

use serde_json::json;

use crate::agent::Source;
use crate::exit::Failure;
use crate::inspect::{Table, print};
use crate::output::Format;
use crate::settings::Settings;

/// Check a configuration and show every setting's effective value with its source.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal config --check /etc/shoal/shoal.toml
  SHOAL_ROLE=gate shoal config --check shoal.toml --bind 10.0.0.1:7462

Flags win over SHOAL_* variables, those over the file, the file over defaults. SOURCE is who won.
Nothing is started and no port is opened.")]
pub struct Arguments {
    /// The file to check; without a file, environment and flags alone
    #[arg(long, value_name = "FILE.toml", num_args = 0..=1)]
    check: Option<Option<PathBuf>>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(file) = &arguments.check else {
        return Err(Failure::usage("say what to do: shoal config --check FILE.toml"));
    };
    let (_, fresh) = Source::new(arguments.settings.clone(), file.clone())?;
    let effective = fresh.resolved.effective(&fresh.config);
    let rows: Vec<_> = effective
        .iter()
        .map(|(key, value, origin)| {
            json!({"key": key, "value": value, "source": origin.to_string()})
        })
        .collect();
    let format = fresh.resolved.settings.format.unwrap_or(Format::Text);
    print(format, &rows, || {
        let mut table = Table::new(&["SETTING", "VALUE", "SOURCE"]);
        for (key, value, origin) in &effective {
            let value = value.clone().unwrap_or_else(|| "-".to_owned());
            table.push(vec![key.clone(), value, origin.to_string()]);
        }
        let text = table.text(usize::MAX, |_, _, cell| cell.to_owned());
        format!(
            "{text}\nsecrets: {} in the key ring; the configuration is sound",
            fresh.secrets.len()
        )
    })
}
