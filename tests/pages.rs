//! The pages that `shoal` draws of running agents, in a real browser.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod agent;
mod browser;
mod program;

use std::process::Command;

use agent::{Agent, wait_full_mesh};
use program::shoal;

#[test]
fn a_map_of_the_members_is_a_page_and_a_drawing() {
    let folder = std::env::temp_dir().join(format!("shoal-pages-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let control = folder.join("control").to_str().unwrap().to_owned();
    let common = ["--bind", "127.0.0.1:0", "--datacenter"];
    let mut agents = vec![Agent::start(&[&common[..], &["east", "--control", &control]].concat())];
    let seed = agents[0].address.clone();
    for datacenter in ["north-with-a-very-long-name-31", "west", "south"] {
        agents.push(Agent::start(&[&common[..], &[datacenter, "--join", &seed]].concat()));
    }
    wait_full_mesh(&agents);
    for name in ["map.html", "map.svg"] {
        let path = folder.join(name);
        let mut command = Command::new(shoal());
        command.args(["coordinates", "--control", &control, "--plot"]).arg(&path);
        assert!(command.status().unwrap().success());
        let picture = std::fs::read_to_string(&path).unwrap();
        assert_eq!(picture.matches("<circle").count(), agents.len(), "{name}");
    }
    browser::look_at(&folder.join("map.html"));
    drop(agents);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_simulation_is_a_page() {
    let folder = std::env::temp_dir().join(format!("shoal-simulation-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let matrix = "a,b,c,d\n0,10,20,30\n10,0,15,25\n20,15,0,12\n30,25,12,0\n";
    std::fs::write(folder.join("matrix.csv"), matrix).unwrap();
    for (name, arguments) in [
        ("detection.html", &["--nodes", "20", "--crashes", "3", "--seconds", "40"][..]),
        ("matrix.html", &["--matrix", "matrix.csv", "--cycles", "100"]),
    ] {
        let mut command = Command::new(shoal());
        command.arg("simulate").args(arguments).args(["--page", name]).current_dir(&folder);
        assert!(command.status().unwrap().success());
        browser::look_at(&folder.join(name));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
