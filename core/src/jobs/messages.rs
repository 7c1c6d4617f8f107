//! The messages between managers and gates, as values and as bytes.
//!
//! AD-34 has five: progress report, timeout report, leader transfer and final status go from a
//! manager to a gate, the global timeout comes back. The first four are one layout, because each
//! tells the whole state of the job in the sender's datacenter: whichever arrives teaches a gate
//! that has never heard of the job all it needs. Receipts acknowledge; the outcome of a job is the
//! receipt of its global timeout.
//!
//! ```text
//! head 32 | body of a report 52
//! ```
//!
//! Little-endian, no padding; several messages stand behind each other in one datagram, whose
//! header says who sends and from which datacenter. Times are durations in ms, rounded towards the
//! later deadline, so that no host times a job out early because another host rounded.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::timeout::{FenceToken, JobOutcome, TimeoutReason, WorkflowCounts};
use crate::id::JobId;
use crate::node::Address;
use crate::time::Duration;
use crate::wire::native::Malformed;

/// The largest message, in bytes.
pub const MESSAGE_SIZE_MAX: usize = size_of::<WireHead>() + size_of::<WireReport>();

/// What a manager reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// The job runs (AD-34: JobProgressReport). Sent when it starts, when it is extended, and at an
    /// interval.
    Progress,
    /// The job is over time here, the gate is to decide (AD-34: JobTimeoutReport).
    Timeout,
    /// The sender leads the job from now on (AD-34: JobLeaderTransfer).
    LeaderTransfer,
    /// How the job ended here (AD-34: JobFinalStatus), or `None` as the correction of a decision
    /// that was made about an earlier leader: the job still runs.
    Status(Option<JobOutcome>),
}

/// The state of a job in one datacenter, from the manager that leads it to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What made the manager send it.
    pub kind: ReportKind,
    /// The job.
    pub job: JobId,
    /// The leadership of the sender.
    pub fence: FenceToken,
    /// Counts the reports under this leadership.
    pub sequence: u32,
    /// Why the job is over time here, where it is.
    pub overdue: Option<TimeoutReason>,
    /// In how many datacenters the job runs, as far as the sender knows; 0 for unknown.
    pub datacenter_count: u16,
    /// How many workers hold an extension.
    pub extended_workers: u16,
    /// The state of the workflows.
    pub workflows: WorkflowCounts,
    /// The job's timeout.
    pub timeout: Duration,
    /// How long it has been running.
    pub elapsed: Duration,
    /// How long it has made no progress. A report is no progress in itself.
    pub since_progress: Duration,
    /// All extensions granted here.
    pub extension_total: Duration,
    /// The longest single one.
    pub extension_max: Duration,
}

/// A gate's decision, to the manager that leads the job in one datacenter (AD-34:
/// JobGlobalTimeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalTimeout {
    /// The job.
    pub job: JobId,
    /// The leadership the gate believes to address; a manager with a higher one refuses.
    pub fence: FenceToken,
    /// Why.
    pub reason: TimeoutReason,
}

/// What a receiver made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReceiptOutcome {
    /// A gate has noted the report and will decide.
    Tracked = 1,
    /// A gate has noted the report; the job is over, nothing more will be decided.
    Over = 2,
    /// A gate knows a later leader than the sender: the fence of the receipt.
    Superseded = 3,
    /// A gate has no room for the job.
    Refused = 4,
    /// A manager does not track the job it was told to time out, or that a gate believes to run there.
    Unknown = 5,
    /// A manager reports this job to another gate, and leaves the decision to that one.
    OtherGate = 6,
}

/// The acknowledgement of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The job.
    pub job: JobId,
    /// The highest leadership the receiver knows.
    pub fence: FenceToken,
    /// The number of the report; 0 where there was none.
    pub sequence: u32,
    /// What the receiver made of it.
    pub outcome: ReceiptOutcome,
}

/// Anything that managers and gates send each other about jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobMessage {
    /// Manager to gate.
    Report(Report),
    /// Gate to manager.
    GlobalTimeout(GlobalTimeout),
    /// Gate to manager: a report has arrived.
    ReportReceipt(Receipt),
    /// Manager to gate: there is nothing here to time out, or to track.
    TimeoutReceipt(Receipt),
}

/// A message and where the host has to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The gate or manager it is for.
    pub target: Address,
    /// The message.
    pub message: JobMessage,
}

const PROGRESS: u8 = 1;
const TIMEOUT: u8 = 2;
const LEADER_TRANSFER: u8 = 3;
const STATUS: u8 = 4;
const GLOBAL_TIMEOUT: u8 = 5;
const REPORT_RECEIPT: u8 = 6;
const TIMEOUT_RECEIPT: u8 = 7;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireHead {
    kind: u8,
    /// Outcome of a status or receipt, reason of a global timeout.
    code: u8,
    /// Reason of the timeout in the sender's datacenter, 0 for none.
    overdue: u8,
    reserved: u8,
    sequence: U32,
    job: [u8; 16],
    fence: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireReport {
    timeout_ms: U64,
    elapsed_ms: U64,
    since_progress_ms: U64,
    extension_total_ms: U64,
    extension_max_ms: U32,
    workflows_total: U32,
    workflows_completed: U32,
    workflows_failed: U32,
    datacenter_count: U16,
    extended_workers: U16,
}

const _: () = assert!(MESSAGE_SIZE_MAX == 84);

impl JobMessage {
    /// The job it is about.
    pub fn job(&self) -> JobId {
        match self {
            JobMessage::Report(report) => report.job,
            JobMessage::GlobalTimeout(timeout) => timeout.job,
            JobMessage::ReportReceipt(receipt) | JobMessage::TimeoutReceipt(receipt) => receipt.job,
        }
    }

    /// Whether it is meant for a gate; otherwise it is meant for a manager.
    pub fn is_for_gate(&self) -> bool {
        matches!(self, JobMessage::Report(_) | JobMessage::TimeoutReceipt(_))
    }

    /// Reads one message and returns what stands behind it.
    ///
    /// # Errors
    /// When a byte breaks the format.
    pub fn parse(bytes: &[u8]) -> Result<(JobMessage, &[u8]), Malformed> {
        let (head, rest) = WireHead::ref_from_prefix(bytes).map_err(|_| Malformed)?;
        let message = match head.kind {
            GLOBAL_TIMEOUT => JobMessage::GlobalTimeout(GlobalTimeout {
                job: JobId::from_bytes(head.job),
                fence: FenceToken(head.fence.get()),
                reason: TimeoutReason::from_wire(head.code).ok_or(Malformed)?,
            }),
            REPORT_RECEIPT => JobMessage::ReportReceipt(read_receipt(head)?),
            TIMEOUT_RECEIPT => JobMessage::TimeoutReceipt(read_receipt(head)?),
            _ => {
                let (body, rest) = WireReport::ref_from_prefix(rest).map_err(|_| Malformed)?;
                return Ok((JobMessage::Report(read_report(head, body)?), rest));
            }
        };
        Ok((message, rest))
    }

    /// Writes the message to the front of `buffer` and returns its size; `None`, and nothing
    /// written, when there is no room for it.
    pub fn write(&self, buffer: &mut [u8]) -> Option<usize> {
        let report = match self {
            JobMessage::Report(report) => Some(report),
            _ => None,
        };
        let size = size_of::<WireHead>() + report.map_or(0, |_| size_of::<WireReport>());
        let place = buffer.get_mut(..size)?;
        let (head, body) = place.split_at_mut(size_of::<WireHead>());
        head.copy_from_slice(self.head().as_bytes());
        if let Some(report) = report {
            body.copy_from_slice(report_body(report).as_bytes());
        }
        Some(size)
    }

    fn head(&self) -> WireHead {
        let (kind, code, overdue, sequence, fence) = match self {
            JobMessage::Report(report) => {
                let (kind, code) = match report.kind {
                    ReportKind::Progress => (PROGRESS, 0),
                    ReportKind::Timeout => (TIMEOUT, 0),
                    ReportKind::LeaderTransfer => (LEADER_TRANSFER, 0),
                    ReportKind::Status(outcome) => (STATUS, outcome.map_or(0, |code| code as u8)),
                };
                let overdue = report.overdue.map_or(0, |reason| reason as u8);
                (kind, code, overdue, report.sequence, report.fence)
            }
            JobMessage::GlobalTimeout(timeout) => {
                (GLOBAL_TIMEOUT, timeout.reason as u8, 0, 0, timeout.fence)
            }
            JobMessage::ReportReceipt(receipt) => {
                (REPORT_RECEIPT, receipt.outcome as u8, 0, receipt.sequence, receipt.fence)
            }
            JobMessage::TimeoutReceipt(receipt) => {
                (TIMEOUT_RECEIPT, receipt.outcome as u8, 0, receipt.sequence, receipt.fence)
            }
        };
        WireHead {
            kind,
            code,
            overdue,
            reserved: 0,
            sequence: U32::new(sequence),
            job: *self.job().as_bytes(),
            fence: U64::new(fence.0),
        }
    }
}

fn read_receipt(head: &WireHead) -> Result<Receipt, Malformed> {
    use ReceiptOutcome::*;
    let outcomes = [Tracked, Over, Superseded, Refused, Unknown, OtherGate];
    let outcome = usize::from(head.code).checked_sub(1).and_then(|index| outcomes.get(index));
    Ok(Receipt {
        job: JobId::from_bytes(head.job),
        fence: FenceToken(head.fence.get()),
        sequence: head.sequence.get(),
        outcome: *outcome.ok_or(Malformed)?,
    })
}

fn read_report(head: &WireHead, body: &WireReport) -> Result<Report, Malformed> {
    let kind = match (head.kind, head.code) {
        (PROGRESS, 0) => ReportKind::Progress,
        (TIMEOUT, 0) => ReportKind::Timeout,
        (LEADER_TRANSFER, 0) => ReportKind::LeaderTransfer,
        (STATUS, 0) => ReportKind::Status(None),
        (STATUS, code) => ReportKind::Status(Some(JobOutcome::from_wire(code).ok_or(Malformed)?)),
        _ => return Err(Malformed),
    };
    let overdue = match head.overdue {
        0 => None,
        number => Some(TimeoutReason::from_wire(number).ok_or(Malformed)?),
    };
    if kind == ReportKind::Timeout && overdue.is_none() {
        return Err(Malformed);
    }
    Ok(Report {
        kind,
        job: JobId::from_bytes(head.job),
        fence: FenceToken(head.fence.get()),
        sequence: head.sequence.get(),
        overdue,
        datacenter_count: body.datacenter_count.get(),
        extended_workers: body.extended_workers.get(),
        workflows: WorkflowCounts {
            total: body.workflows_total.get(),
            completed: body.workflows_completed.get(),
            failed: body.workflows_failed.get(),
        },
        timeout: Duration::from_millis(body.timeout_ms.get()),
        elapsed: Duration::from_millis(body.elapsed_ms.get()),
        since_progress: Duration::from_millis(body.since_progress_ms.get()),
        extension_total: Duration::from_millis(body.extension_total_ms.get()),
        extension_max: Duration::from_millis(body.extension_max_ms.get().into()),
    })
}

fn report_body(report: &Report) -> WireReport {
    WireReport {
        timeout_ms: U64::new(millis_up(report.timeout)),
        elapsed_ms: U64::new(millis_down(report.elapsed)),
        since_progress_ms: U64::new(millis_down(report.since_progress)),
        extension_total_ms: U64::new(millis_up(report.extension_total)),
        extension_max_ms: U32::new(
            u32::try_from(millis_up(report.extension_max)).unwrap_or(u32::MAX),
        ),
        workflows_total: U32::new(report.workflows.total),
        workflows_completed: U32::new(report.workflows.completed),
        workflows_failed: U32::new(report.workflows.failed),
        datacenter_count: U16::new(report.datacenter_count),
        extended_workers: U16::new(report.extended_workers),
    }
}

fn millis_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn millis_down(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn report(kind: ReportKind) -> Report {
        Report {
            kind,
            job: JobId::from(77),
            fence: FenceToken(u64::MAX - 1),
            sequence: 9,
            overdue: Some(TimeoutReason::Stuck),
            datacenter_count: 3,
            extended_workers: 2,
            workflows: WorkflowCounts { total: 10, completed: 4, failed: 1 },
            timeout: Duration::from_secs(365 * 24 * 3_600),
            elapsed: Duration::from_secs(61),
            since_progress: Duration::from_millis(120_001),
            extension_total: Duration::from_millis(28_125),
            extension_max: Duration::from_secs(15),
        }
    }

    fn messages() -> Vec<JobMessage> {
        let outcomes = JobOutcome::ALL.into_iter().map(Some).chain([None]);
        let kinds = [ReportKind::Progress, ReportKind::Timeout, ReportKind::LeaderTransfer];
        let reports = kinds.into_iter().chain(outcomes.map(ReportKind::Status)).map(report);
        let timeouts = TimeoutReason::ALL.into_iter().map(|reason| {
            let (job, fence) = (JobId::from(5), FenceToken(2));
            JobMessage::GlobalTimeout(GlobalTimeout { job, fence, reason })
        });
        use ReceiptOutcome::*;
        let receipts = [Tracked, Over, Superseded, Refused, Unknown, OtherGate].map(|outcome| {
            Receipt { job: JobId::from(6), fence: FenceToken(3), sequence: 8, outcome }
        });
        let mut messages: Vec<_> = reports.map(JobMessage::Report).chain(timeouts).collect();
        messages.extend(receipts.map(JobMessage::ReportReceipt));
        messages.extend(receipts.map(JobMessage::TimeoutReceipt));
        messages
    }

    #[test]
    fn what_is_written_is_read_one_behind_the_other() {
        let mut buffer = [0; 1_400];
        let mut size = 0;
        let written = messages();
        for message in &written {
            size += message.write(&mut buffer[size..]).expect("there is room");
        }
        let mut unread = &buffer[..size];
        for message in &written {
            let (read, rest) = JobMessage::parse(unread).unwrap();
            assert_eq!(read, *message);
            unread = rest;
        }
        assert!(unread.is_empty());
    }

    #[test]
    fn no_room_writes_nothing() {
        let message = JobMessage::Report(report(ReportKind::Progress));
        let mut buffer = [0xaa; MESSAGE_SIZE_MAX - 1];
        assert_eq!(message.write(&mut buffer), None);
        assert!(buffer.iter().all(|&byte| byte == 0xaa));
    }

    #[test]
    fn times_are_rounded_towards_the_later_deadline() {
        let odd = Duration::from_nanos(1_500_000);
        let report = Report {
            timeout: odd,
            elapsed: odd,
            since_progress: odd,
            extension_total: odd,
            extension_max: odd,
            ..report(ReportKind::Progress)
        };
        let mut buffer = [0; MESSAGE_SIZE_MAX];
        JobMessage::Report(report).write(&mut buffer).unwrap();
        let (JobMessage::Report(read), _) = JobMessage::parse(&buffer).unwrap() else { panic!() };
        let (up, down) = (Duration::from_millis(2), Duration::from_millis(1));
        assert_eq!((read.timeout, read.extension_total, read.extension_max), (up, up, up));
        assert_eq!((read.elapsed, read.since_progress), (down, down));
    }

    /// Truncated messages are refused; flipped bits are refused or read as some other legal
    /// message.
    #[test]
    fn broken_messages_never_panic() {
        let mut random = Random::new(4);
        for message in messages() {
            let mut buffer = [0; MESSAGE_SIZE_MAX];
            let size = message.write(&mut buffer).unwrap();
            for cut in 0..size {
                assert!(JobMessage::parse(&buffer[..cut]).is_err(), "{message:?} cut to {cut}");
            }
            for _ in 0..2_000 {
                let mut bytes = buffer;
                bytes[random.below(size as u32) as usize] ^= 1 << random.below(8);
                let _ = JobMessage::parse(&bytes[..size]);
            }
        }
        for kind in [0, 8, 255] {
            let mut buffer = [0; MESSAGE_SIZE_MAX];
            buffer[0] = kind;
            assert!(JobMessage::parse(&buffer).is_err());
        }
    }
}
