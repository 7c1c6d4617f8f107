//! What the agent's threads share: the node, its latest events, and the way to reload.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shoal_core::io::Node;
use shoal_core::{Address, Secret};

use crate::agent::Source;
use crate::control::protocol::Reloaded;
use crate::output::Record;

/// Events that are kept for clients; older ones make room.
const EVENT_COUNT_MAX: usize = 256;

/// An agent, as seen by its control plane.
#[derive(Debug)]
pub struct Host {
    /// The node itself.
    pub node: Node,
    /// When it was started.
    pub started: Instant,
    /// What happened lately.
    pub journal: Journal,
    reloading: Mutex<Reloading>,
}

/// What a reload starts from.
#[derive(Debug)]
struct Reloading {
    source: Source,
    secrets: Vec<Secret>,
    seeds: Vec<Address>,
}

impl Host {
    /// A host for a node that was started from this source.
    pub fn new(node: Node, source: Source, secrets: Vec<Secret>, seeds: Vec<Address>) -> Host {
        let reloading = Mutex::new(Reloading { source, secrets, seeds });
        Host { node, started: Instant::now(), journal: Journal::default(), reloading }
    }

    /// Everything the node measures, as OpenMetrics text.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        self.node.write_metrics(&mut text);
        text
    }

    /// Reads the settings again and takes over what may change while the node runs: the key ring,
    /// and seeds that were not known. The membership stays. On any error everything stays.
    ///
    /// # Errors
    /// One line that says what is wrong with the settings.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let mut reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = reloading.source.read().map_err(|failure| failure.message().to_owned())?;
        let needs_restart = reloading.source.differences(&fresh);
        let secrets_changed = fresh.secrets != reloading.secrets;
        if secrets_changed {
            let taken = self.node.set_secrets(fresh.secrets.clone());
            taken.map_err(|error| error.to_string())?;
            reloading.secrets = fresh.secrets;
        }
        let known = &reloading.seeds;
        let new: Vec<Address> =
            fresh.seeds.into_iter().filter(|seed| !known.contains(seed)).collect();
        if !new.is_empty() {
            self.node.join(&new).map_err(|error| error.to_string())?;
            reloading.seeds.extend(&new);
        }
        let secrets = reloading.secrets.len();
        let reloaded = Reloaded { secrets, secrets_changed, new_seeds: new.len(), needs_restart };
        tracing::info!(
            secrets,
            secrets_changed,
            new_seeds = reloaded.new_seeds,
            needs_restart = reloaded.needs_restart.join(" "),
            "settings read again"
        );
        Ok(reloaded)
    }
}

/// One thing that happened, by number.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts up from 1.
    pub number: u64,
    /// What it was, as `shoal agent --format json` prints it.
    #[serde(flatten)]
    pub record: Value,
}

/// The latest events.
#[derive(Debug, Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    /// Notes an event.
    pub fn note(&self, record: &Record) {
        let record = serde_json::to_value(record).expect("a record is plain data");
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = entries.back().map_or(1, |last| last.number + 1);
        if entries.len() == EVENT_COUNT_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry { number, record });
    }

    /// The events after this number that are still kept.
    pub fn after(&self, number: u64) -> Vec<Entry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|entry| entry.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_counts_on_when_it_forgets() {
        let journal = Journal::default();
        for at_ms in 0..300 {
            journal.note(&Record::Left { at_ms });
        }
        let kept = journal.after(0);
        assert_eq!(kept.len(), EVENT_COUNT_MAX);
        assert_eq!((kept[0].number, kept[255].number), (45, 300));
        assert_eq!(kept[255].record["at_ms"], 299);
        let json = serde_json::to_string(&journal.after(299)).unwrap();
        assert_eq!(json, r#"[{"number":300,"at_ms":299,"event":"left"}]"#);
    }
}
