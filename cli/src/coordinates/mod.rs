//! `shoal coordinates`: where every member is in the latency space, as a table or as a picture.

mod plot;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::control::client::Target;
use crate::control::protocol::{Place, Request};
use crate::exit::Failure;
use crate::inspect::{Table, print};
use crate::output::OutputArguments;

/// Show where the members are in the latency space.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal coordinates
  shoal coordinates --plot map.html     # or map.svg; look at it in a browser")]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Draw a map into this file, a page or a drawing by its ending
    #[arg(long, value_name = "FILE.html|FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Before the agent is asked: a wrong ending is the caller's mistake whatever the agent says.
    let ending = arguments.plot.as_deref().map(ending_of).transpose()?;
    let mut places: Vec<Place> = arguments.target.connect()?.ask(Request::Coordinates)?;
    if let (Some(path), Some(ending), [own, ..]) = (&arguments.plot, ending, &places[..]) {
        let picture = match ending {
            Ending::Html => plot::page(&places, &own.address),
            Ending::Svg => plot::svg(&places),
        };
        std::fs::write(path, picture).map_err(|error| {
            Failure::failed(format_args!("cannot write {}: {error}", path.display()))
        })?;
        let (nodes, file) = (places.len(), path.display().to_string());
        let told = json!({"nodes": nodes, "file": file});
        return print(arguments.output.format, &told, || {
            format!("{nodes} nodes drawn into {file}")
        });
    }
    places.sort_by_cached_key(|place| {
        (place.datacenter.clone(), place.role.clone(), place.address.clone())
    });
    print(arguments.output.format, &places, || table(&places))
}

#[derive(Clone, Copy)]
enum Ending {
    Html,
    Svg,
}

fn ending_of(path: &Path) -> Result<Ending, Failure> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => Ok(Ending::Html),
        Some("svg") => Ok(Ending::Svg),
        _ => Err(Failure::usage(format_args!(
            "--plot {}: expected a name that ends in .html or .svg",
            path.display()
        ))),
    }
}

fn table(places: &[Place]) -> String {
    let mut table =
        Table::new(&["ADDRESS", "ROLE", "DATACENTER", "ERROR", "HEIGHT", "VECTOR (ms)"]);
    for place in places {
        let vector = place.vector_ms.map(|ms| format!("{ms:7.2}")).join(" ");
        table.push(vec![
            place.address.clone(),
            place.role.clone(),
            place.datacenter.clone(),
            format!("{:.3}", place.error),
            format!("{:.2}", place.height_ms),
            vector,
        ]);
    }
    table.text(3, |_, _, cell| cell.to_owned())
}
