//! What the agent answers to each request. Reads the node's mirror; only `leave` and `reload`
//! change anything.

use serde::Serialize;
use serde_json::{Value, json};
use shoal_core::coordinate::quality;
use shoal_core::routing::{DatacenterId, Ranked};
use shoal_core::{Address, Counter, DatacenterName, JobId, MemberState, Rtt};

use super::protocol::{
    self, CandidateRow, ExcludedRow, MemberRow, Place, Request, RouteRow, RttRow, Status,
};
use crate::host::Host;

/// The line that answers this line.
pub fn answer(host: &Host, line: &[u8]) -> String {
    let request = match protocol::read_question(line) {
        Ok(request) => request,
        Err(error) => return protocol::line::<()>(Err(error)),
    };
    match request {
        Request::Status => told(status(host)),
        Request::Members => {
            let members = host.node.members();
            told(members.iter().map(MemberRow::from).collect::<Vec<_>>())
        }
        Request::Rtt { to, from } => protocol::line(rtt(host, &to, from.as_deref())),
        Request::Route { job, prefer } => protocol::line(route(host, &job, &prefer)),
        Request::Coordinates => {
            told(host.node.members().iter().filter_map(Place::of).collect::<Vec<_>>())
        }
        Request::Metrics => told(host.metrics()),
        Request::Events { after } => told(host.journal.after(after)),
        Request::Reload => protocol::line(host.reload()),
        Request::Leave => {
            let left = host.node.leave().map_err(|error| error.to_string());
            protocol::line::<Value>(left.map(|()| json!({})))
        }
    }
}

fn told<T: Serialize>(result: T) -> String {
    protocol::line(Ok(result))
}

fn status(host: &Host) -> Status {
    let (stats, gauges) = (host.node.stats(), host.node.gauges());
    let own = host.node.member(host.node.address());
    let named = |name: Option<String>| name.unwrap_or_default();
    let leader = host.node.leader().ok().and_then(|view| view.leader);
    let members = host.node.members();
    let count = |states: &[MemberState]| {
        members.iter().filter(|member| states.contains(&member.state)).count() as u64
    };
    let dropped = stats.iter().filter(|(counter, _)| is_drop(*counter));
    Status {
        address: host.node.address().to_string(),
        role: named(own.map(|own| own.role.name().to_owned())),
        datacenter: named(own.map(|own| own.datacenter.to_string())),
        leader: leader.map(|leader| leader.to_string()),
        members_alive: count(&[MemberState::Alive]),
        members_troubled: count(&[
            MemberState::Unconfirmed,
            MemberState::Suspect,
            MemberState::Dead,
        ]),
        backend: host.node.backend().name().to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: host.started.elapsed().as_millis() as u64,
        health_score: gauges.health_score,
        coordinate_error: host.node.coordinate().error,
        datagrams_received: stats.value(Counter::DatagramsReceived),
        datagrams_sent: stats.value(Counter::DatagramsSent),
        datagrams_dropped: dropped.map(|(_, value)| value).sum(),
    }
}

/// Whether this counts received datagrams that were not used.
fn is_drop(counter: Counter) -> bool {
    !matches!(counter, Counter::DroppedProbes | Counter::DroppedTransmits | Counter::DroppedEvents)
        && counter.name().starts_with("dropped_")
}

fn rtt(host: &Host, to: &str, from: Option<&str>) -> Result<RttRow, String> {
    let find = |text: &str| {
        let address: Address = text.parse().map_err(|_| {
            format!("{text:?} is no address, expected IP:PORT as `shoal members` shows")
        })?;
        host.node.member(address).ok_or_else(|| format!("no member has the address {address}"))
    };
    let (far, own) = (find(to)?, host.node.address());
    let near = from.map(find).transpose()?.filter(|near| near.address != own);
    let known: Option<Rtt> = match (&near, &far) {
        (None, far) => far.rtt,
        (Some(near), far) if far.address == own => near.rtt,
        (Some(near), far) => near
            .coordinate
            .zip(far.coordinate)
            .map(|(near, far)| quality::between_peers(&near, &far)),
    };
    let Rtt { ms, upper_ms, quality } = known.ok_or_else(|| {
        format!("nothing is known of the round trip to {to} yet; try again in a few seconds")
    })?;
    let from = near.map_or(own, |near| near.address).to_string();
    Ok(RttRow { from, to: far.address.to_string(), ms, upper_ms, quality })
}

/// Has the gate decide as it would for a program. A job that it has not heard of before is forgotten again,
/// so that a look leaves nothing behind.
fn route(host: &Host, job: &str, prefer: &[String]) -> Result<RouteRow, String> {
    let job = job_of(job);
    let preferred = prefer.iter().map(|name| name.parse::<DatacenterName>());
    let preferred: Vec<DatacenterName> =
        preferred.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let route = host.node.route(job, &preferred).map_err(|error| error.to_string())?;
    let decision = route.decision();
    let name = |id: DatacenterId| route.name(id).to_string();
    if decision.previous().is_none() {
        host.node.forget_route(job).map_err(|error| error.to_string())?;
    }
    let candidate = |ranked: &Ranked| CandidateRow {
        datacenter: name(ranked.datacenter),
        bucket: ranked.bucket.name().to_owned(),
        score: ranked.score.value(),
        latency_ms: ranked.score.latency_ms,
        load_factor: ranked.score.load_factor,
        quality_penalty: ranked.score.quality_penalty,
        preferred: ranked.is_preferred,
        cooling: ranked.is_cooling,
    };
    Ok(RouteRow {
        job: job.to_string(),
        datacenter: route.datacenter().map(ToString::to_string),
        manager: route.manager().map(|manager| manager.to_string()),
        reason: decision.reason().name().to_owned(),
        bucket: decision.bucket().map(|bucket| bucket.name().to_owned()),
        previous: decision.previous().map(name),
        bootstrap: decision.is_bootstrap(),
        fallbacks: decision.chain().skip(1).map(|ranked| name(ranked.datacenter)).collect(),
        candidates: decision.ranked().iter().map(candidate).collect(),
        excluded: decision
            .excluded()
            .iter()
            .map(|excluded| ExcludedRow {
                datacenter: name(excluded.datacenter),
                reason: excluded.reason.name().to_owned(),
            })
            .collect(),
    })
}

/// A job by its 128 bits in hexadecimal digits, as everything prints it, or by its name.
fn job_of(text: &str) -> JobId {
    let is_number = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(number) if is_number => JobId::from(number),
        _ => JobId::from_name(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_what_is_printed_of_it() {
        let job = job_of("nightly");
        assert_eq!(job, JobId::from_name(b"nightly"));
        assert_eq!(job_of(&job.to_string()), job);
        assert_ne!(job_of("+0000000000000000000000000000001"), JobId::from(1));
    }
}
