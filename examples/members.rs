//! Joins a cluster, prints what happens, and lists all members when nothing has happened for a second.
//!
//! ```text
//! SHOAL_SECRET=... cargo run -p shoal-examples --example members -- 127.0.0.1:0 127.0.0.1:7946
//! ```

use std::net::SocketAddr;

use shoal_core::io::{Node, NodeOptions};
use shoal_core::{Address, Config, Duration, Event, Secret};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: members BIND [SEED]..., with the secret in SHOAL_SECRET";
    let bind: SocketAddr = arguments.next().ok_or(usage)?.parse()?;
    let seeds = arguments.map(|seed| seed.parse()).collect::<Result<Vec<Address>, _>>()?;
    let secret = Secret::new(std::env::var("SHOAL_SECRET").map_err(|_| usage)?)?;

    let mut options = NodeOptions::new(bind, Config::new(Address::UNSPECIFIED, secret));
    options.join = seeds;
    let node = Node::start(options)?;
    println!("started {} on {}", node.address(), node.backend().name());

    while let Some(event) = node.wait_event(Duration::from_secs(1)) {
        if let Event::Member(member) = event {
            println!(
                "{} {} ({}, {})",
                member.address, member.state, member.role, member.datacenter
            );
        }
    }
    for member in node.members() {
        let rtt = member.rtt.map_or("-".to_owned(), |rtt| format!("{:.2} ms", rtt.ms));
        println!("{:<24}{:<12}{:<10}{rtt}", member.address.to_string(), member.state, member.role);
    }

    // A goodbye, so that the others say "left" and not "dead".
    node.leave()?;
    while let Some(event) = node.wait_event(Duration::from_secs(2)) {
        if matches!(event, Event::Left { .. }) {
            break;
        }
    }
    Ok(())
}
