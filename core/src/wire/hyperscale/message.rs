//! The first part of a payload: what is asked, answered or told.
//!
//! `name [":" argument]* [">" target]`, where the target is the node that the message is about,
//! except for `join`, which puts the protocol version before it, and for the messages between
//! clusters, which carry a pickled body there.

use super::text;
use crate::node::Address;

/// The version of the membership protocol that this side speaks; only the first number must agree.
pub const PROTOCOL_VERSION: (u32, u32) = (1, 4);

/// Declares the names once, with their text.
macro_rules! names {
    ($($variant:ident, $text:literal, $help:literal;)*) => {
        /// Every message of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Name {
            $(#[doc = $help] $variant,)*
        }

        impl Name {
            /// Every name.
            pub const ALL: &'static [Name] = &[$(Name::$variant,)*];

            /// As it stands on the wire.
            pub const fn text(self) -> &'static str {
                match self { $(Name::$variant => $text,)* }
            }

            fn from_text(text: &[u8]) -> Option<Name> {
                $(if text == $text.as_bytes() { return Some(Name::$variant); })*
                None
            }
        }
    };
}

names! {
    Probe, "probe", "Are you there? The target is the node asked.";
    Ack, "ack", "I am here. The target is the sender.";
    Nack, "nack", "I cannot do that; the argument may say why.";
    PingReq, "ping-req", "Probe the target for me.";
    PingReqAck, "ping-req-ack", "What the probe on behalf found: the argument is `alive`, `dead`, `timeout` or `unknown`.";
    Alive, "alive", "The target lives in this incarnation.";
    Suspect, "suspect", "The target of this incarnation does not answer.";
    Join, "join", "The target wants to take part.";
    Leave, "leave", "The target says goodbye.";
    LeaderClaim, "leader-claim", "The sender wants to lead: term and local health.";
    LeaderVote, "leader-vote", "A vote for the target in this term.";
    LeaderElected, "leader-elected", "The target leads in this term.";
    LeaderHeartbeat, "leader-heartbeat", "The target still leads in this term.";
    LeaderStepdown, "leader-stepdown", "The target no longer leads.";
    PreVoteReq, "pre-vote-req", "Would I be elected? Term and local health.";
    PreVoteResp, "pre-vote-resp", "The answer to it: term and `1` or `0`.";
    CrossProbe, "xprobe", "A gate probes the leader of another datacenter; the body is pickled.";
    CrossAck, "xack", "The answer to it; the body is pickled.";
    CrossNack, "xnack", "The node asked is no leader.";
}

impl Name {
    /// Whether a pickled body stands in the target's place.
    pub const fn has_body(self) -> bool {
        matches!(self, Name::CrossProbe | Name::CrossAck | Name::CrossNack)
    }

    /// Whether it belongs to the election of a leader.
    pub const fn is_election(self) -> bool {
        matches!(
            self,
            Name::LeaderClaim
                | Name::LeaderVote
                | Name::LeaderElected
                | Name::LeaderHeartbeat
                | Name::LeaderStepdown
                | Name::PreVoteReq
                | Name::PreVoteResp
        )
    }
}

/// A message, as views of the payload it came in. Any bytes can be read as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is, `None` when the protocol knows no such name.
    pub name: Option<Name>,
    /// Everything between the first `:` of the name and the first `>`.
    pub arguments: &'a [u8],
    /// Everything behind the first `>`: the target's text, or a pickled body, which is never looked
    /// into.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the base of a payload.
    pub fn parse(base: &'a [u8]) -> Message<'a> {
        let (head, body) = text::split_once(base, b'>').unwrap_or((base, &[]));
        let (name, arguments) = text::split_once(head, b':').unwrap_or((head, &[]));
        Message { name: Name::from_text(name), arguments, body }
    }

    /// The node that the message is about, `None` when it names none by number.
    pub fn target(&self) -> Option<Address> {
        let body = match self.name {
            Some(name) if name.has_body() => return None,
            Some(Name::Join) => text::split_once(self.body, b'|')?.1,
            // In place of its incarnation the Python node writes the text of a coroutine, which
            // ends in one more `>`.
            _ => self.body.strip_prefix(b">").unwrap_or(self.body),
        };
        text::address(body)
    }

    /// The first argument as an incarnation; one that cannot be read counts as 0.
    pub fn incarnation(&self) -> u32 {
        self.number(0).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    /// The argument with this index as a number.
    pub fn number(&self, index: usize) -> Option<u64> {
        text::number(self.argument(index)?)
    }

    /// The argument with this index.
    pub fn argument(&self, index: usize) -> Option<&'a [u8]> {
        if self.arguments.is_empty() {
            return None;
        }
        self.arguments.split(|&byte| byte == b':').nth(index)
    }

    /// The protocol version in a `join`.
    pub fn version(&self) -> Option<(u32, u32)> {
        let (version, _) = text::split_once(self.body, b'|')?;
        let (major, minor) = text::split_once(version.strip_prefix(b"v")?, b'.')?;
        Some((text::small_number(major)?, text::small_number(minor)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "127.0.0.1:9001";

    fn parse(base: &str) -> Message<'_> {
        Message::parse(base.as_bytes())
    }

    fn node() -> Option<Address> {
        Some(NODE.parse().unwrap())
    }

    #[test]
    fn every_name_is_read() {
        for &name in Name::ALL {
            let base = format!("{}:7:1>{NODE}", name.text());
            let message = parse(&base);
            assert_eq!(message.name, Some(name));
            assert_eq!((message.number(0), message.number(1)), (Some(7), Some(1)));
            assert_eq!(message.body, NODE.as_bytes());
            let has_target = !name.has_body() && name != Name::Join;
            assert_eq!(message.target(), node().filter(|_| has_target), "{name:?}");
        }
        assert_eq!(parse("").name, None);
        assert_eq!(parse("probes>1.2.3.4:5").name, None);
        assert_eq!(Message::parse(&[0xff, 0xfe, b'>']).name, None);
    }

    #[test]
    fn arguments_may_be_missing_or_unreadable() {
        assert_eq!(parse("suspect:x>1.2.3.4:5").incarnation(), 0);
        assert_eq!(parse("suspect>1.2.3.4:5").incarnation(), 0);
        assert_eq!(parse("suspect:4294967296>1.2.3.4:5").incarnation(), 0);
        assert_eq!(parse("suspect:12>1.2.3.4:5").incarnation(), 12);
        assert_eq!(parse("nack:unknown>1.2.3.4:5").argument(0), Some(&b"unknown"[..]));
        assert_eq!(parse("nack>1.2.3.4:5").argument(0), None);
        assert_eq!(parse("pre-vote-resp:9:1>1.2.3.4:5").number(1), Some(1));
    }

    #[test]
    fn a_coroutine_in_place_of_an_incarnation_is_incarnation_zero() {
        let base = format!(
            "alive:<coroutine object HealthAwareServer.increment_incarnation at 0x7f7fa073be00>>{NODE}"
        );
        let message = parse(&base);
        assert_eq!(message.name, Some(Name::Alive));
        assert_eq!((message.incarnation(), message.target()), (0, node()));
    }

    #[test]
    fn a_join_has_a_version_before_its_target() {
        let message = parse("join>v1.4|127.0.0.1:9001");
        assert_eq!((message.version(), message.target()), (Some((1, 4)), node()));
        for broken in ["join>127.0.0.1:9001", "join>v1|127.0.0.1:9001", "join>1.4|127.0.0.1:9001"] {
            assert_eq!(parse(broken).version(), None, "{broken}");
        }
    }

    #[test]
    fn pickled_bodies_are_kept_whole() {
        let body = [0x80, 4, b'>', b':', b'|', 0xff, b'.'];
        let base = [b"xprobe>", &body[..]].concat();
        let message = Message::parse(&base);
        assert_eq!((message.name, message.body), (Some(Name::CrossProbe), &body[..]));
    }
}
