//! What follows from a node's answer (`decisions.md` 31).

use crate::engine::{Code, Outcome, Status};
use crate::telemetry::books::DropReason;
use crate::upstream::Failure;

/// What follows from a node's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// One of the messages is refused for what it is.
    Isolate,
    /// No node will ever take them.
    Drop(DropReason),
    /// Another node may take them.
    Elsewhere(Failure),
    /// Every node will refuse until an operator has acted.
    Hold,
}

/// What follows from an outcome.
pub(super) fn judge(outcome: &Outcome) -> Verdict {
    let status = match outcome {
        Outcome::Answered(status) => status,
        Outcome::Lost(_) => return Verdict::Elsewhere(Failure::Other),
        Outcome::TimedOut => return Verdict::Elsewhere(Failure::Stalled),
    };
    match status.code {
        Code::Ok => Verdict::Delivered,
        // Undecodable bytes show as UNKNOWN as often as INVALID_ARGUMENT on a real OAP.
        Code::InvalidArgument | Code::Unknown => Verdict::Isolate,
        Code::ResourceExhausted if is_oversized(status) => Verdict::Isolate,
        Code::ResourceExhausted => Verdict::Elsewhere(Failure::Overloaded),
        Code::Unavailable => Verdict::Elsewhere(Failure::Unavailable),
        Code::Unimplemented => Verdict::Drop(DropReason::Unimplemented),
        Code::PermissionDenied | Code::Unauthenticated => Verdict::Hold,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss => Verdict::Elsewhere(Failure::Other),
    }
}

/// grpc-java's words for a message over its limit, which no waiting cures.
fn is_oversized(status: &Status) -> bool {
    status.message.contains("exceeds maximum size")
}

/// For the log.
pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(status) => status.to_string(),
        Outcome::Lost(reason) => format!("lost: {reason}"),
        Outcome::TimedOut => "no progress in time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_a_node_has_its_consequence() {
        let judged = |code, text: &'static str| judge(&Outcome::Answered(Status::new(code, text)));
        assert_eq!(judged(Code::Ok, ""), Verdict::Delivered);
        assert_eq!(
            judged(Code::Unknown, "Application error processing RPC"),
            Verdict::Isolate
        );
        assert_eq!(
            judged(Code::InvalidArgument, "layer is required"),
            Verdict::Isolate
        );
        let oversized = "gRPC message exceeds maximum size 52428800: 53477376";
        assert_eq!(judged(Code::ResourceExhausted, oversized), Verdict::Isolate);
        let overloaded = Verdict::Elsewhere(Failure::Overloaded);
        assert_eq!(
            judged(Code::ResourceExhausted, "Watermark exceeded"),
            overloaded
        );
        let dropped = Verdict::Drop(DropReason::Unimplemented);
        assert_eq!(judged(Code::Unimplemented, ""), dropped);
        assert_eq!(judged(Code::PermissionDenied, ""), Verdict::Hold);
        assert_eq!(
            judged(Code::Internal, ""),
            Verdict::Elsewhere(Failure::Other)
        );
        assert_eq!(
            judge(&Outcome::TimedOut),
            Verdict::Elsewhere(Failure::Stalled)
        );
    }
}
