//! A cluster of agents as processes, Shoal's or Serf's, and what they say of each other.
//!
//! Both are started with their defaults (Serf: profile LAN), encrypted, one address of 127.0.0.0/8
//! each. What an agent says is dated when its line arrives here, for both alike.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shoal_benches::system::Guarded;

const SECRET: &str = "a secret for measurements on loopback";
/// 32 bytes in base64, as Serf wants its key.
const SERF_KEY: &str = "c2hvYWwgYmVuY2htYXJrcyBhZ2FpbnN0IHNlcmYuLi4=";
const SERF_RPC_PORT_OFFSET: u16 = 1_000;

/// Whose agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    Shoal,
    Serf,
}

impl Stack {
    pub const BOTH: [Stack; 2] = [Stack::Shoal, Stack::Serf];

    pub fn name(self) -> &'static str {
        match self {
            Stack::Shoal => "shoal",
            Stack::Serf => "serf",
        }
    }

    /// Why it cannot be run here, if so.
    pub fn missing(self) -> Option<String> {
        match self {
            Stack::Shoal => {
                let program = shoal_program();
                let advice = "cargo build --release -p shoal-cli";
                (!program.exists()).then(|| format!("no {}; {advice}", program.display()))
            }
            Stack::Serf => {
                let asked = Command::new("serf").arg("version").output();
                let why = "not installed; `make deps` or `apt-get install serf`";
                asked.is_err().then(|| why.to_owned())
            }
        }
    }
}

/// The agent's program, built beside this one.
fn shoal_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("shoal")
}

/// What an agent says of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Alive,
    /// Declared dead (Shoal) or failed (Serf).
    Dead,
    /// Left, removed, or something in between that is neither alive nor dead.
    Other,
}

/// One line of one agent.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub at: Instant,
    pub observer: usize,
    pub subject: usize,
    pub sight: Sight,
}

type Sightings = Arc<Mutex<Vec<Sighting>>>;

/// Agents of one cluster. They end with this value.
#[derive(Debug)]
pub struct Fleet {
    stack: Stack,
    port: u16,
    agents: Vec<Option<Guarded>>,
    sightings: Sightings,
    /// From where in `sightings` what an agent says counts: since its last start.
    since: Vec<usize>,
}

impl Fleet {
    /// Starts a cluster and waits until all see all.
    ///
    /// # Errors
    /// When a process does not start or the cluster does not form.
    pub fn start(stack: Stack, count: usize, port: u16) -> Result<Fleet, String> {
        let mut fleet = Fleet {
            stack,
            port,
            agents: (0..count).map(|_| None).collect(),
            sightings: Sightings::default(),
            since: vec![0; count],
        };
        for agent in 0..count {
            fleet.launch(agent)?;
        }
        fleet.wait_formed(Duration::from_secs(60))?;
        Ok(fleet)
    }

    /// Starts an agent, for the first time or again.
    ///
    /// # Errors
    /// When the process does not start.
    pub fn launch(&mut self, agent: usize) -> Result<(), String> {
        let from = self.sightings().len();
        self.since[agent] = from;
        let address = |number: usize| format!("127.0.0.{}:{}", number + 1, self.port);
        // Any other than itself; the first is always there.
        let (bind, seed) = (address(agent), address(usize::from(agent == 0)));
        let mut command = match self.stack {
            Stack::Shoal => {
                let mut command = Command::new(shoal_program());
                command.args(["agent", "--format", "json", "--bind", &bind, "--join", &seed]);
                command.env("SHOAL_SECRET", SECRET);
                command
            }
            Stack::Serf => {
                let mut command = Command::new("serf");
                let rpc = format!("127.0.0.{}:{}", agent + 1, self.port + SERF_RPC_PORT_OFFSET);
                command.arg("agent").arg(format!("-node=n{agent}"));
                command.arg(format!("-bind={bind}")).arg(format!("-rpc-addr={rpc}"));
                command.arg(format!("-retry-join={seed}")).arg("-retry-interval=1s");
                command.arg(format!("-encrypt={SERF_KEY}")).arg("-log-level=info");
                command
            }
        };
        // The program takes settings from the environment, too; what is measured are its defaults.
        let settings = std::env::vars_os().map(|(name, _)| name);
        for name in settings.filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("SHOAL_") && name != "SHOAL_SECRET"
        }) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command).map_err(|error| error.to_string())?;
        self.listen(agent, process.0.stdout.take().expect("it is piped"));
        self.listen(agent, process.0.stderr.take().expect("it is piped"));
        self.agents[agent] = Some(process);
        Ok(())
    }

    /// Reads what an agent says until it ends.
    fn listen(&self, observer: usize, stream: impl Read + Send + 'static) {
        let (stack, sightings) = (self.stack, Arc::clone(&self.sightings));
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let at = Instant::now();
                let read = match stack {
                    Stack::Shoal => read_shoal(&line),
                    Stack::Serf => read_serf(&line),
                };
                if let Some((subject, sight)) = read {
                    lock(&sightings).push(Sighting { at, observer, subject, sight });
                }
            }
        });
    }

    pub fn sightings(&self) -> MutexGuard<'_, Vec<Sighting>> {
        lock(&self.sightings)
    }

    /// Agents that run.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.agents.len()).filter(|&agent| self.agents[agent].is_some())
    }

    /// What an agent last said of another.
    fn last(&self, observer: usize, subject: usize) -> Option<Sight> {
        let sightings = self.sightings();
        let about = sightings[self.since[observer]..].iter().rev();
        let mut about = about.filter(|s| s.observer == observer && s.subject == subject);
        about.next().map(|sighting| sighting.sight)
    }

    fn all_say(&self, subject: usize, sight: Sight) -> bool {
        let mut others = self.running().filter(|&observer| observer != subject);
        others.all(|observer| self.last(observer, subject) == Some(sight))
    }

    /// Waits until every running agent sees every other.
    ///
    /// # Errors
    /// When that takes longer than this.
    pub fn wait_formed(&self, patience: Duration) -> Result<(), String> {
        let all_alive = || self.running().all(|subject| self.all_say(subject, Sight::Alive));
        wait_until(patience, all_alive)
            .ok_or_else(|| format!("a cluster of {} did not form in time", self.stack.name()))
    }

    /// Waits until every running agent says that this one is dead.
    pub fn wait_dead(&self, subject: usize, patience: Duration) -> Option<()> {
        wait_until(patience, || self.all_say(subject, Sight::Dead))
    }

    pub fn pid(&self, agent: usize) -> Option<u32> {
        self.agents[agent].as_ref().map(|process| process.0.id())
    }

    /// Kills an agent as the power going out does.
    pub fn kill(&mut self, agent: usize) {
        self.agents[agent] = None;
    }

    /// Stops an agent or lets it go on.
    pub fn signal(&self, agent: usize, signal: Signal) {
        if let Some(process) = &self.agents[agent] {
            // Fails only for one that has ended by itself, which the figures will show.
            let _ = kill_process(Pid::from_child(&process.0), signal);
        }
    }
}

fn lock(sightings: &Sightings) -> MutexGuard<'_, Vec<Sighting>> {
    sightings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until it holds, looking often. `None` when it takes too long.
fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> Option<()> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(())
}

/// The agent of an address in 127.0.0.0/24.
fn agent_of(address: &str) -> Option<usize> {
    let host = address.split(':').next()?;
    let number: usize = host.strip_prefix("127.0.0.")?.parse().ok()?;
    number.checked_sub(1)
}

fn read_shoal(line: &str) -> Option<(usize, Sight)> {
    let value: Value = serde_json::from_str(line).ok()?;
    if value["event"] != "member" {
        return None;
    }
    let sight = match value["state"].as_str()? {
        "alive" => Sight::Alive,
        "dead" => Sight::Dead,
        // Suspicion and hearsay change nothing for those who rely on the member.
        "suspect" | "unconfirmed" => return None,
        _ => Sight::Other,
    };
    Some((agent_of(value["address"].as_str()?)?, sight))
}

fn read_serf(line: &str) -> Option<(usize, Sight)> {
    let (_, event) = line.split_once("serf: EventMember")?;
    let (event, about) = event.split_once(": ")?;
    let sight = match event {
        "Join" => Sight::Alive,
        "Failed" => Sight::Dead,
        "Update" => return None,
        _ => Sight::Other,
    };
    Some((agent_of(about.split_whitespace().last()?)?, sight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_say_is_understood() {
        let shoal = r#"{"event":"member","address":"127.0.0.3:7946","state":"dead","at_ms":1}"#;
        assert_eq!(read_shoal(shoal), Some((2, Sight::Dead)));
        assert_eq!(read_shoal(&shoal.replace("dead", "suspect")), None);
        assert_eq!(read_shoal(r#"{"event":"started","address":"127.0.0.1:7946"}"#), None);
        let serf = "    2026/11/23 20:00:00 [INFO] serf: EventMemberFailed: n2 127.0.0.3";
        assert_eq!(read_serf(serf), Some((2, Sight::Dead)));
        assert_eq!(read_serf(&serf.replace("Failed", "Join")), Some((2, Sight::Alive)));
        assert_eq!(read_serf("[INFO] memberlist: Suspect n2 has failed, no acks received"), None);
    }
}
