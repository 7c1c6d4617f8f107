//! What is said over the control socket: one JSON object per line, a question and its answer in
//! turn.
//!
//! A question is `{"version":1,"request":"members"}` with the request's own fields beside it; an
//! answer is `{"version":1,"result":...}` or `{"version":1,"error":"..."}`. A field that is added
//! later is no new version; a field that goes or changes its meaning is. docs/operations.md lists
//! every request.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_core::Coordinate;
use shoal_core::Member;
use shoal_core::coordinate::DIMENSIONS;

/// The version that this program speaks, and the only one it accepts.
pub const VERSION: u32 = 1;
/// The longest question, in bytes, its line end included. A longer one ends the connection.
pub const REQUEST_SIZE_MAX: usize = 4_096;

/// What an agent can be asked.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Who the node is and how it fares: [`Status`].
    Status,
    /// All members, the node itself first: a list of [`MemberRow`].
    Members,
    /// The round trip to a member, or between two: [`RttRow`].
    Rtt {
        /// The far end.
        to: String,
        /// The near end, if it is not the node itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// Where a gate would send a job: [`RouteRow`].
    Route {
        /// The job: 32 hexadecimal digits, or else a name.
        job: String,
        /// Datacenters that the job prefers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prefer: Vec<String>,
    },
    /// The places of all members: a list of [`Place`].
    Coordinates,
    /// OpenMetrics text, as one string.
    Metrics,
    /// What happened lately: a list of events, as `shoal agent --format json` prints them, each
    /// with its `number`. Only those with a greater number than this.
    Events {
        /// The last number that the asker has seen; 0 for all that are kept.
        #[serde(default)]
        after: u64,
    },
    /// Read the key ring and the seeds again: [`Reloaded`].
    Reload,
    /// Say goodbye to the cluster and end. The connection closes when that is done.
    Leave,
}

/// A question as it travels.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Question {
    /// Always [`VERSION`].
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// An answer as it travels. Exactly one of result and error is there.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Answer<T> {
    /// Always [`VERSION`].
    pub version: u32,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<T>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One line with its end.
pub fn line<T: Serialize>(result: Result<T, String>) -> String {
    let (result, error) = match result {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error)),
    };
    let answer = Answer { version: VERSION, result, error };
    let mut text = serde_json::to_string(&answer).expect("an answer is plain data");
    text.push('\n');
    text
}

/// Reads a question.
pub fn read_question(line: &[u8]) -> Result<Request, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let complain = |error: serde_json::Error| format!("no question: {error}");
    // The version first: what another version asks may not be readable at all.
    let Version { version } = serde_json::from_slice(line).map_err(complain)?;
    if version != VERSION {
        return Err(format!("version {version} is not spoken here, only {VERSION}"));
    }
    serde_json::from_slice::<Question>(line).map(|question| question.request).map_err(complain)
}

/// Reads an answer.
pub fn read_answer<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    let answer: Answer<T> =
        serde_json::from_slice(line).map_err(|error| format!("no answer: {error}"))?;
    match answer {
        Answer { result: Some(result), .. } => Ok(result),
        Answer { error, .. } => Err(error.unwrap_or_else(|| "an empty answer".to_owned())),
    }
}

/// Who a node is and how it fares.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Status {
    /// Where peers reach it.
    pub address: String,
    /// Its role's name.
    pub role: String,
    /// Where it runs.
    pub datacenter: String,
    /// Who leads the managers of its datacenter, as far as it knows.
    #[serde(default)]
    pub leader: Option<String>,
    /// Members that are alive, the node itself included.
    #[serde(default)]
    pub members_alive: u64,
    /// Members that are suspect, dead or not confirmed.
    #[serde(default)]
    pub members_troubled: u64,
    /// `uring` or `poll`.
    pub backend: String,
    /// The program's version.
    pub program: String,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// How much it distrusts its own view, 0 to 8.
    pub health_score: u8,
    /// How wrong its predictions are, relative.
    pub coordinate_error: f64,
    /// Datagrams received so far.
    pub datagrams_received: u64,
    /// Datagrams sent so far.
    pub datagrams_sent: u64,
    /// Datagrams that were not used so far, for any reason.
    pub datagrams_dropped: u64,
}

/// One member. The field names are a contract with programs that read them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MemberRow {
    /// Where it is reached.
    pub address: String,
    /// Its state's name.
    pub state: String,
    /// Its role's name.
    pub role: String,
    /// Where it runs.
    pub datacenter: String,
    /// Its count of refutations.
    pub incarnation: u32,
    /// The round trip to it, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// A bound that the round trip rarely exceeds, in milliseconds.
    pub rtt_upper_ms: Option<f64>,
    /// How much to trust it, 0 to 1.
    pub quality: Option<f64>,
    /// How much the member distrusts its own view, 0 to 8.
    pub health_score: u8,
}

impl From<&Member> for MemberRow {
    fn from(member: &Member) -> MemberRow {
        MemberRow {
            address: member.address.to_string(),
            state: member.state.name().to_owned(),
            role: member.role.name().to_owned(),
            datacenter: member.datacenter.to_string(),
            incarnation: member.incarnation.0,
            rtt_ms: member.rtt.map(|rtt| rtt.ms),
            rtt_upper_ms: member.rtt.map(|rtt| rtt.upper_ms),
            quality: member.rtt.map(|rtt| rtt.quality),
            health_score: member.health_score,
        }
    }
}

/// The round trip between two members.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RttRow {
    /// The near end.
    pub from: String,
    /// The far end.
    pub to: String,
    /// The best estimate, in milliseconds.
    pub ms: f64,
    /// A bound that it rarely exceeds, in milliseconds.
    pub upper_ms: f64,
    /// How much to trust it, 0 to 1.
    pub quality: f64,
}

/// A routing decision and what it is made of.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RouteRow {
    /// The job, as 32 hexadecimal digits.
    pub job: String,
    /// Where to send it, if anywhere.
    pub datacenter: Option<String>,
    /// The manager there.
    pub manager: Option<String>,
    /// Why.
    pub reason: String,
    /// The worst health the job has to accept.
    pub bucket: Option<String>,
    /// Where it went before.
    pub previous: Option<String>,
    /// Whether capacity decided, because round trips are not known yet.
    pub bootstrap: bool,
    /// Where to turn when the first fails, in order.
    pub fallbacks: Vec<String>,
    /// Every datacenter that may take it.
    pub candidates: Vec<CandidateRow>,
    /// Every datacenter that may not.
    pub excluded: Vec<ExcludedRow>,
}

/// A datacenter that may take a job.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CandidateRow {
    /// Its name.
    pub datacenter: String,
    /// Its health.
    pub bucket: String,
    /// The less the better.
    pub score: f64,
    /// The round trip that was scored, in milliseconds.
    pub latency_ms: f64,
    /// By how much its load made it worse.
    pub load_factor: f64,
    /// By how much an uncertain round trip made it worse.
    pub quality_penalty: f64,
    /// Whether the job prefers it.
    pub preferred: bool,
    /// Whether it failed the job lately.
    pub cooling: bool,
}

/// A datacenter that may not take a job.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ExcludedRow {
    /// Its name.
    pub datacenter: String,
    /// Why not.
    pub reason: String,
}

/// Where a member is in the latency space.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Place {
    /// Where it is reached.
    pub address: String,
    /// Its role's name.
    pub role: String,
    /// Where it runs.
    pub datacenter: String,
    /// Its state's name.
    pub state: String,
    /// The Euclidean part, in milliseconds.
    pub vector_ms: [f64; DIMENSIONS],
    /// The access link, in milliseconds.
    pub height_ms: f64,
    /// The correction of every prediction from here, in milliseconds.
    pub adjustment_ms: f64,
    /// How wrong predictions from here are, relative.
    pub error: f64,
}

impl Place {
    /// The place of a member that has told its coordinate.
    pub fn of(member: &Member) -> Option<Place> {
        let Coordinate { vector, height, adjustment, error } = member.coordinate?;
        Some(Place {
            address: member.address.to_string(),
            role: member.role.name().to_owned(),
            datacenter: member.datacenter.to_string(),
            state: member.state.name().to_owned(),
            vector_ms: vector.map(|seconds| seconds * 1e3),
            height_ms: height * 1e3,
            adjustment_ms: adjustment * 1e3,
            error,
        })
    }

    /// The coordinate, in seconds again.
    pub fn coordinate(&self) -> Coordinate {
        Coordinate {
            vector: self.vector_ms.map(|ms| ms / 1e3),
            height: self.height_ms / 1e3,
            adjustment: self.adjustment_ms / 1e3,
            error: self.error,
        }
    }
}

/// What a reload did.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Reloaded {
    /// Secrets in the key ring now.
    pub secrets: usize,
    /// Whether the ring differs from the one before.
    pub secrets_changed: bool,
    /// Seeds that were not known before and are asked now.
    pub new_seeds: usize,
    /// Settings that differ and take effect at the next start only.
    pub needs_restart: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_travel_as_documented() {
        let line = serde_json::to_string(&Question {
            version: VERSION,
            request: Request::Rtt { to: "b:1".to_owned(), from: None },
        });
        assert_eq!(line.unwrap(), r#"{"version":1,"request":"rtt","to":"b:1"}"#);
        let members = read_question(br#"{"version":1,"request":"members"}"#);
        assert_eq!(members, Ok(Request::Members));
        let events = read_question(br#"{"version":1,"request":"events"}"#);
        assert_eq!(events, Ok(Request::Events { after: 0 }));
    }

    #[test]
    fn what_cannot_be_answered_is_told() {
        let error = |line: &[u8]| read_question(line).unwrap_err();
        assert!(error(b"members").starts_with("no question: "));
        assert_eq!(
            error(br#"{"version":2,"request":"whatever"}"#),
            "version 2 is not spoken here, only 1"
        );
        assert!(error(br#"{"version":1,"request":"fly"}"#).contains("unknown variant `fly`"));
        let refused = line::<()>(Err("no".to_owned()));
        assert_eq!(refused, "{\"version\":1,\"error\":\"no\"}\n");
        assert_eq!(read_answer::<u32>(refused.as_bytes()), Err("no".to_owned()));
        assert_eq!(read_answer::<u32>(line(Ok(5)).as_bytes()), Ok(5));
    }
}
