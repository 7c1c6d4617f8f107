//! The entries of the sections that spread news: members, their health, and managers' workers.
//!
//! ```text
//! member = type ":" incarnation ":" host ":" port [ ":" role ]
//! health = node "|" role "|" overload "|" accepting "|" capacity "|" throughput "|" expected "|" timestamp
//! worker = worker ":" owner ":" host ":" tcp ":" udp ":" state ":" incarnation ":" cores ":" free ":" timestamp ":" datacenter
//! ```
//!
//! Timestamps are the monotonic clock of the node the entry is about, so they order its own entries
//! and compare with nothing else.

use super::text::{self, TextWriter, field};
use crate::node::{Address, MemberState, Role};

/// Incarnations above are refused, as the Python node refuses them.
pub const INCARNATION_MAX: u32 = i32::MAX as u32;

/// Declares an enum whose members are words on the wire.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident, $text:literal, $help:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $help] $variant,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// As it stands on the wire.
            pub const fn text(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            fn from_text(text: &[u8]) -> Option<$name> {
                $(if text == $text.as_bytes() { return Some($name::$variant); })*
                None
            }
        }
    };
}

words! {
    /// What is told of a member.
    UpdateKind {
        Alive, "alive", "It lives.";
        Suspect, "suspect", "It does not answer.";
        Dead, "dead", "It did not refute in time.";
        Join, "join", "It is new, or back.";
        Leave, "leave", "It said goodbye.";
    }
}

impl UpdateKind {
    /// The state it means.
    pub const fn state(self) -> MemberState {
        match self {
            UpdateKind::Alive | UpdateKind::Join => MemberState::Alive,
            UpdateKind::Suspect => MemberState::Suspect,
            UpdateKind::Dead => MemberState::Dead,
            UpdateKind::Leave => MemberState::Left,
        }
    }

    /// What tells of this state; hearsay is not told.
    pub const fn of_state(state: MemberState) -> Option<UpdateKind> {
        match state {
            MemberState::Alive => Some(UpdateKind::Alive),
            MemberState::Suspect => Some(UpdateKind::Suspect),
            MemberState::Dead => Some(UpdateKind::Dead),
            MemberState::Left => Some(UpdateKind::Leave),
            MemberState::Unconfirmed | MemberState::Removed => None,
        }
    }
}

/// News of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// What is told.
    pub kind: UpdateKind,
    /// The incarnation the news is about; at most [`INCARNATION_MAX`].
    pub incarnation: u32,
    /// Where the member is reached.
    pub address: Address,
    /// What it does, when that is told and known here.
    pub role: Option<Role>,
}

impl MemberEntry {
    pub(super) fn parse(entry: &[u8]) -> Option<MemberEntry> {
        let mut rest = Some(entry);
        let kind = UpdateKind::from_text(field(&mut rest, b':')?)?;
        let incarnation = text::small_number(field(&mut rest, b':')?)?;
        let host = match rest?.strip_prefix(b"[") {
            Some(bracketed) => {
                let (host, behind) = text::split_once(bracketed, b']')?;
                rest = Some(behind.strip_prefix(b":")?);
                host
            }
            None => field(&mut rest, b':')?,
        };
        let port = text::small_number(field(&mut rest, b':')?).filter(|&port| port != 0)?;
        let address = text::address_of(host, port)?;
        let role = rest.and_then(role);
        (incarnation <= INCARNATION_MAX).then_some(MemberEntry { kind, incarnation, address, role })
    }

    pub(super) fn write(&self, writer: &mut TextWriter) {
        writer.push(self.kind.text().as_bytes()).push(b":");
        writer.push_number(u64::from(self.incarnation.min(INCARNATION_MAX))).push(b":");
        writer.push_address(self.address);
        if let Some(role) = self.role {
            writer.push(b":").push(role.name().as_bytes());
        }
    }
}

fn role(text: &[u8]) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.name().as_bytes() == text)
}

words! {
    /// How loaded a node says it is.
    Overload {
        Healthy, "healthy", "Nothing out of the ordinary.";
        Busy, "busy", "Working, with room left.";
        Stressed, "stressed", "Slower than it should be.";
        Overloaded, "overloaded", "Beyond what it can do.";
    }
}

/// The health of one node, as it told it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthEntry<'a> {
    /// The node's own name, which is not its address.
    pub node_id: &'a str,
    /// What it does; a word, because clients tell their health, too.
    pub node_type: &'a str,
    /// How loaded it is.
    pub overload: Overload,
    /// Whether it takes new work.
    pub is_accepting: bool,
    /// How much work it could take.
    pub capacity: i64,
    /// Work done per second.
    pub throughput: f64,
    /// Work per second that it should do.
    pub expected: f64,
    /// When, in seconds by its own clock.
    pub timestamp: f64,
}

impl<'a> HealthEntry<'a> {
    pub(super) fn parse(entry: &'a [u8]) -> Option<HealthEntry<'a>> {
        let mut rest = Some(entry);
        let mut next = || field(&mut rest, b'|');
        let entry = HealthEntry {
            node_id: text::utf8(next()?).filter(|id| !id.is_empty())?,
            node_type: text::utf8(next()?)?,
            overload: Overload::from_text(next()?)?,
            is_accepting: next()? == b"1",
            capacity: signed(next()?)?,
            throughput: text::decimal(next()?)?,
            expected: text::decimal(next()?)?,
            timestamp: text::decimal(next()?)?,
        };
        rest.is_none().then_some(entry)
    }

    pub(super) fn write(&self, writer: &mut TextWriter) {
        writer.push(self.node_id.as_bytes()).push(b"|").push(self.node_type.as_bytes());
        writer.push(b"|").push(self.overload.text().as_bytes());
        writer.push(if self.is_accepting { b"|1|" } else { b"|0|" });
        if self.capacity < 0 {
            writer.push(b"-");
        }
        writer.push_number(self.capacity.unsigned_abs());
        for value in [self.throughput, self.expected, self.timestamp] {
            writer.push(b"|").push_decimals(value, 2);
        }
    }
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => text::small_number::<i64>(digits).map(|value| -value),
        None => text::small_number(text),
    }
}

words! {
    /// Where a worker stands with its manager.
    WorkerState {
        Registered, "registered", "It works for its owner.";
        Dead, "dead", "It does not answer.";
        Evicted, "evicted", "Its owner no longer wants it.";
        Left, "left", "It said goodbye.";
    }
}

/// News of one worker, from the manager that owns it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerEntry<'a> {
    /// The worker's name.
    pub worker_id: &'a str,
    /// The name of its manager.
    pub owner_id: &'a str,
    /// Where it is reached, by number or by name.
    pub host: &'a str,
    /// Its port for streams.
    pub tcp_port: u16,
    /// Its port for datagrams.
    pub udp_port: u16,
    /// Where it stands.
    pub state: WorkerState,
    /// Orders news of the worker.
    pub incarnation: u32,
    /// Processors it has.
    pub total_cores: u32,
    /// Processors that are free.
    pub available_cores: u32,
    /// When, in seconds by its manager's clock.
    pub timestamp: f64,
    /// Where it runs.
    pub datacenter: &'a str,
}

impl<'a> WorkerEntry<'a> {
    pub(super) fn parse(entry: &'a [u8]) -> Option<WorkerEntry<'a>> {
        let mut rest = Some(entry);
        let mut next = || field(&mut rest, b':');
        let entry = WorkerEntry {
            worker_id: text::utf8(next()?).filter(|id| !id.is_empty())?,
            owner_id: text::utf8(next()?)?,
            host: text::utf8(next()?)?,
            tcp_port: text::small_number(next()?)?,
            udp_port: text::small_number(next()?)?,
            state: WorkerState::from_text(next()?)?,
            incarnation: text::small_number(next()?)?,
            total_cores: text::small_number(next()?)?,
            available_cores: text::small_number(next()?)?,
            timestamp: text::decimal(next()?)?,
            datacenter: text::utf8(next()?)?,
        };
        rest.is_none().then_some(entry)
    }

    pub(super) fn write(&self, writer: &mut TextWriter) {
        for name in [self.worker_id, self.owner_id, self.host] {
            writer.push(name.as_bytes()).push(b":");
        }
        writer.push_number(self.tcp_port.into()).push(b":").push_number(self.udp_port.into());
        writer.push(b":").push(self.state.text().as_bytes());
        for number in [self.incarnation, self.total_cores, self.available_cores] {
            writer.push(b":").push_number(number.into());
        }
        writer.push(b":").push_decimals(self.timestamp, 6);
        writer.push(b":").push(self.datacenter.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut TextWriter)) -> String {
        let mut buffer = [0; 256];
        let mut writer = TextWriter::new(&mut buffer);
        write(&mut writer);
        let size = writer.finish().unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    #[test]
    fn entries_are_written_as_they_are_read() {
        for text in [
            "join:0:127.0.0.1:9005:worker",
            "suspect:2:127.0.0.1:9007",
            "dead:2147483647:10.0.0.1:1:gate",
            "alive:3:[2001:db8::1]:9007:manager",
        ] {
            let entry = MemberEntry::parse(text.as_bytes()).unwrap();
            assert_eq!(written(|writer| entry.write(writer)), text);
        }
        for text in [
            "DC1-50-0018a3b2c4d5e-f3a2b1c9d8e7|manager|healthy|1|8|1.50|2.00|1234.50",
            "n|client|overloaded|0|-3|0.00|0.10|0.00",
        ] {
            let entry = HealthEntry::parse(text.as_bytes()).unwrap();
            assert_eq!(written(|writer| entry.write(writer)), text);
        }
        let text = "w1:m1:127.0.0.1:9100:9101:registered:3:8:4:55.250000:DC1";
        let entry = WorkerEntry::parse(text.as_bytes()).unwrap();
        assert_eq!(written(|writer| entry.write(writer)), text);
    }

    #[test]
    fn a_member_entry_is_whole_or_nothing() {
        for text in [
            "",
            "join",
            "join:0",
            "join:0:127.0.0.1",
            "joins:0:127.0.0.1:9000",
            "join:-1:127.0.0.1:9000",
            "join:2147483648:127.0.0.1:9000",
            "join:99999999999999999999:127.0.0.1:9000",
            "join:0:127.0.0.1:9000#",
            "join:0:127.0.0.1:65536",
            "join:0:127.0.0.1:0",
            "join:0:localhost:9000",
            "join:0:[::1:9000",
        ] {
            assert_eq!(MemberEntry::parse(text.as_bytes()), None, "{text}");
        }
        for (text, role) in [("client", None), ("worker#", None), ("gate", Some(Role::Gate))] {
            let entry = format!("join:0:127.0.0.1:9000:{text}");
            assert_eq!(MemberEntry::parse(entry.as_bytes()).unwrap().role, role, "{text}");
        }
    }

    #[test]
    fn health_and_worker_entries_have_all_their_fields() {
        let health = "n|gate|busy|1|8|1.50|2.00|1234.50";
        let worker = "w1:m1:127.0.0.1:9100:9101:dead:3:8:4:55.250000:DC1";
        for size in 0..health.len() - 7 {
            assert_eq!(HealthEntry::parse(&health.as_bytes()[..size]), None, "{size}");
        }
        for size in 0..worker.len() - 3 {
            assert_eq!(WorkerEntry::parse(&worker.as_bytes()[..size]), None, "{size}");
        }
        for text in [
            "n|gate|busy|1|8|nan|2.00|1234.50",
            "n|gate|busy|1|8|1.50|inf|1234.50",
            "n|gate|lazy|1|8|1.50|2.00|1234.50",
            "n|gate|busy|1|8.5|1.50|2.00|1234.50",
            "n|gate|busy|1|8|1.50|2.00|1234.50|more",
            "|gate|busy|1|8|1.50|2.00|1234.50",
        ] {
            assert_eq!(HealthEntry::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(HealthEntry::parse(b"\xff|gate|busy|1|8|1.50|2.00|1.50"), None);
        assert_eq!(WorkerEntry::parse(format!("{worker}:x").as_bytes()), None);
    }

    #[test]
    fn kinds_and_states_belong_together() {
        for &kind in UpdateKind::ALL {
            let back = UpdateKind::of_state(kind.state()).unwrap();
            assert!(back == kind || kind == UpdateKind::Join);
        }
        assert_eq!(UpdateKind::of_state(MemberState::Unconfirmed), None);
    }
}
