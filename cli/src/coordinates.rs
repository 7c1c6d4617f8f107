//! `shoal coordinates`: where every member is in the latency space.

use crate::control::client::Target;
use crate::control::protocol::{Place, Request};
use crate::exit::Failure;
use crate::inspect::{Table, print};
use crate::output::Format;

/// Show where the members are in the latency space.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let places: Vec<Place> = arguments.target.connect()?.ask(Request::Coordinates)?;
    print(arguments.format, &places, || table(&places))
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
