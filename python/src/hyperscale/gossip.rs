//! The membership news that ride on the Python node's messages, least told first.
//!
//! SWIM (Das et al. 2002, section 4.1) tells each piece of news a few times logarithmic in the size
//! of the cluster and prefers the news told least. Here the order is kept, not computed: taking
//! five pieces of news out of a thousand touches five. Each piece is encoded once, when it comes.
//! Among equals the one that came first goes first.

use std::collections::{BTreeMap, HashMap};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::monotonic_seconds;

/// What opens the section of a message that holds news.
const SECTION: &[u8] = b"#|m";
/// What separates two pieces of news.
const SEPARATOR: u8 = b'|';
/// The most pieces that one message is asked for.
const COUNT_MAX: i64 = 100;

type NodeKey = (String, i64);

struct News {
    update_type: String,
    incarnation: i64,
    role: Option<String>,
    timestamp: f64,
    told: u32,
    told_max: u32,
    arrival: u64,
    encoded: Vec<u8>,
}

/// How much a kind of news weighs against another of the same incarnation.
fn weight(update_type: &str) -> u8 {
    match update_type {
        "dead" | "leave" => 2,
        "suspect" => 1,
        _ => 0,
    }
}

/// News by node, in the order of telling.
#[pyclass(subclass, module = "shoal._native")]
#[derive(Default)]
pub(crate) struct GossipQueue {
    news: HashMap<NodeKey, News>,
    order: BTreeMap<(u32, u64), NodeKey>,
    arrivals: u64,
    /// How often a piece of news did not fit behind the others.
    #[pyo3(get)]
    size_limited: u64,
    /// How often a piece of news was larger than a whole section may be.
    #[pyo3(get)]
    oversized: u64,
}

impl GossipQueue {
    fn drop_key(&mut self, key: &NodeKey) -> bool {
        let Some(news) = self.news.remove(key) else { return false };
        self.order.remove(&(news.told, news.arrival));
        true
    }

    fn drop_all(&mut self, keys: Vec<NodeKey>) -> Vec<NodeKey> {
        for key in &keys {
            self.drop_key(key);
        }
        keys
    }

    /// Counts one telling; news told often enough leave.
    fn count_telling(&mut self, position: (u32, u64)) {
        let Some(key) = self.order.remove(&position) else { return };
        let Some(news) = self.news.get_mut(&key) else { return };
        news.told += 1;
        if news.told < news.told_max {
            self.order.insert((news.told, news.arrival), key);
        } else {
            self.news.remove(&key);
        }
    }

    fn encode(&mut self, count_max: usize, size_max: usize) -> (Vec<u8>, usize) {
        let mut section = SECTION.to_vec();
        let mut size = SECTION.len();
        let mut taken: [(u32, u64); COUNT_MAX as usize] = [(0, 0); COUNT_MAX as usize];
        let mut count = 0;
        for (position, key) in self.order.iter().take(count_max) {
            let encoded = &self.news[key].encoded;
            let needed = encoded.len() + 1;
            if needed > size_max {
                self.oversized += 1;
                continue;
            }
            if size + needed > size_max {
                self.size_limited += 1;
                break;
            }
            if count > 0 {
                section.push(SEPARATOR);
            }
            section.extend_from_slice(encoded);
            size += needed;
            taken[count] = *position;
            count += 1;
        }
        for position in &taken[..count] {
            self.count_telling(*position);
        }
        (section, count)
    }
}

#[pymethods]
impl GossipQueue {
    #[new]
    fn new() -> GossipQueue {
        GossipQueue::default()
    }

    /// Takes a piece of news unless a better one of the same node is there; says whether it did.
    #[pyo3(signature = (update_type, host, port, incarnation, told_max, role=None, told=0,
        timestamp=None))]
    #[allow(clippy::too_many_arguments, reason = "the fields of a piece of news")]
    fn put(
        &mut self,
        update_type: String,
        host: String,
        port: i64,
        incarnation: i64,
        told_max: u32,
        role: Option<String>,
        told: u32,
        timestamp: Option<f64>,
    ) -> bool {
        let key = (host, port);
        let mut arrival = self.arrivals;
        let mut role = role;
        if let Some(old) = self.news.get(&key) {
            let heavier = weight(&update_type) > weight(&old.update_type);
            if incarnation < old.incarnation || (incarnation == old.incarnation && !heavier) {
                return false;
            }
            arrival = old.arrival;
            role = role.or_else(|| old.role.clone());
            self.drop_key(&key);
        } else {
            self.arrivals += 1;
        }
        let mut encoded = format!("{update_type}:{incarnation}:{}:{port}", key.0);
        if let Some(role) = role.as_deref().filter(|role| !role.is_empty()) {
            encoded.push(':');
            encoded.push_str(role);
        }
        let timestamp = timestamp.unwrap_or_else(monotonic_seconds);
        let encoded = encoded.into_bytes();
        if told < told_max {
            self.order.insert((told, arrival), key.clone());
        }
        let news =
            News { update_type, incarnation, role, timestamp, told, told_max, arrival, encoded };
        self.news.insert(key, news);
        true
    }

    /// The section of the least told news, which this counts as told; empty when there is none.
    fn encode_section<'py>(
        &mut self,
        py: Python<'py>,
        count_max: i64,
        size_max: i64,
    ) -> Bound<'py, PyBytes> {
        let count_max = count_max.clamp(1, COUNT_MAX) as usize;
        match self.encode(count_max, size_max.max(0) as usize) {
            (_, 0) => PyBytes::new(py, b""),
            (section, _) => PyBytes::new(py, &section),
        }
    }

    /// The least told news, as tuples of type, node, incarnation, timestamp, tellings, most
    /// tellings and role.
    fn least_told<'py>(&self, py: Python<'py>, count_max: i64) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for key in self.order.values().take(count_max.clamp(1, COUNT_MAX) as usize) {
            list.append(describe(py, key, &self.news[key])?)?;
        }
        Ok(list)
    }

    /// All news in the order of arrival, as such tuples.
    fn all<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut news: Vec<_> = self.news.iter().collect();
        news.sort_unstable_by_key(|(_, news)| news.arrival);
        let list = PyList::empty(py);
        for (key, news) in news {
            list.append(describe(py, key, news)?)?;
        }
        Ok(list)
    }

    /// Counts one telling of a node's news.
    fn tell(&mut self, host: String, port: i64) {
        if let Some(news) = self.news.get(&(host, port)) {
            self.count_telling((news.told, news.arrival));
        }
    }

    /// Drops a node's news; says whether there was any.
    fn remove(&mut self, host: String, port: i64) -> bool {
        self.drop_key(&(host, port))
    }

    /// Drops news that came before this time; says how many.
    fn remove_before(&mut self, timestamp: f64) -> usize {
        let old = |news: &News| news.timestamp < timestamp;
        let keys = self.news.iter().filter(|(_, news)| old(news)).map(|(key, _)| key.clone());
        let keys = keys.collect();
        self.drop_all(keys).len()
    }

    /// Drops news told often enough; says how many.
    fn remove_told(&mut self) -> usize {
        let done = |news: &News| news.told >= news.told_max;
        let keys = self.news.iter().filter(|(_, news)| done(news)).map(|(key, _)| key.clone());
        let keys = keys.collect();
        self.drop_all(keys).len()
    }

    /// Drops so many of the oldest news; says how many there were.
    fn remove_oldest(&mut self, count: usize) -> usize {
        let mut ages: Vec<_> =
            self.news.iter().map(|(key, news)| (news.timestamp, news.arrival, key)).collect();
        ages.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let keys = ages.into_iter().take(count).map(|(_, _, key)| key.clone()).collect();
        self.drop_all(keys).len()
    }

    /// Drops everything.
    fn clear(&mut self) {
        self.news.clear();
        self.order.clear();
    }

    fn __len__(&self) -> usize {
        self.news.len()
    }

    /// Whether there is news of a node.
    fn knows(&self, host: String, port: i64) -> bool {
        self.news.contains_key(&(host, port))
    }
}

fn describe<'py>(py: Python<'py>, key: &NodeKey, news: &News) -> PyResult<Bound<'py, PyTuple>> {
    let node = (PyString::intern(py, &key.0), key.1);
    (
        PyString::intern(py, &news.update_type),
        node,
        news.incarnation,
        news.timestamp,
        news.told,
        news.told_max,
        news.role.as_deref(),
    )
        .into_pyobject(py)
}
