//! Adapters: what makes messages fit to travel alone.
//!
//! A queue cuts, mixes, repeats and sheds as it likes, so what it holds must not depend on what
//! stood before it in a call. Towards the queue an [`Inbound`] writes into each message what its
//! receiver in OAP would have inherited, and says in its [`Lane`] what it may share a call with.
//! Towards the node [`outbound`] leaves out again what the message before in the same call says
//! too. In between, any cut is safe.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use perigee_plugin_api::protocol::Adapter;

mod events;
mod go_profiles;
mod inherited;
mod keyed;
mod logs;
mod meters;
mod otlp_metrics;
mod outbox;

pub use outbox::{Lane, Loss, Outbox, Run};

/// Longest name of a service or an instance that others inherit. OAP cuts them at 70 characters.
const LONGEST_NAME: usize = 512;

/// What adapters need to know from the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `routing_label_keys`: resource attributes that make an OTLP key, in their order.
    pub label_keys: Vec<String>,
}

/// Takes the messages of one call.
pub trait Inbound {
    /// Takes the next message, without its prefix.
    fn take(&mut self, message: &[u8], now: Instant, out: &mut Outbox);

    /// Whether messages are kept back to go on together. If so, what has been kept back does not
    /// wait for room any more when it goes: calls that together keep back all there is would wait
    /// for each other.
    fn holds(&self) -> bool {
        false
    }

    /// Bytes that are kept: messages that are kept back, and what later ones inherit.
    fn held(&self) -> u64 {
        0
    }

    /// There is no room to keep anything: it goes on as it is, or is given up.
    fn release(&mut self, _out: &mut Outbox) {}

    /// When [`tick`](Self::tick) is due unless another message comes before.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Nothing has come for a while.
    fn tick(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// The call has ended, whichever way.
    fn end(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// Why the client is told INVALID_ARGUMENT in the end, as its OAP would have.
    fn complaint(&self) -> Option<&'static str> {
        None
    }
}

/// The adapter of a call; `None` where messages go on as they are.
pub fn inbound(adapter: Adapter, options: &Arc<Options>) -> Option<Box<dyn Inbound>> {
    Some(match adapter {
        Adapter::Plain | Adapter::Latest(_) => return None,
        Adapter::Keyed(fields) => Box::new(keyed::Keyed::new(fields)),
        Adapter::Logs => Box::new(logs::Logs::default()),
        Adapter::Meters => Box::new(meters::Meters::default()),
        Adapter::EnvoyAccessLogs => Box::new(inherited::Inherited::new(&inherited::ACCESS_LOGS)),
        Adapter::EnvoyMetrics => Box::new(inherited::Inherited::new(&inherited::METRICS)),
        Adapter::EbpfAccessLogs => {
            Box::new(inherited::Inherited::new(&inherited::EBPF_ACCESS_LOGS))
        }
        Adapter::EbpfProfiling => Box::new(inherited::Inherited::new(&inherited::EBPF_PROFILING)),
        Adapter::GoProfiles => Box::new(go_profiles::GoProfiles::default()),
        Adapter::OtlpMetrics => Box::new(otlp_metrics::OtlpMetrics::new(Arc::clone(options))),
        Adapter::Events => Box::new(events::Events::default()),
    })
}

/// What one call carries of these queued messages of one lane; `None`: just them.
pub fn outbound(adapter: Adapter, chunks: &[Bytes]) -> Option<Vec<Bytes>> {
    match adapter {
        Adapter::EnvoyAccessLogs => Some(inherited::ACCESS_LOGS.leave_out_repeated(chunks)),
        Adapter::EnvoyMetrics => Some(inherited::METRICS.leave_out_repeated(chunks)),
        Adapter::EbpfAccessLogs => Some(inherited::EBPF_ACCESS_LOGS.leave_out_repeated(chunks)),
        Adapter::EbpfProfiling => Some(inherited::EBPF_PROFILING.leave_out_repeated(chunks)),
        Adapter::GoProfiles => Some(go_profiles::unpack(chunks)),
        Adapter::Plain
        | Adapter::Keyed(_)
        | Adapter::Latest(_)
        | Adapter::Logs
        | Adapter::Meters
        | Adapter::OtlpMetrics
        | Adapter::Events => None,
    }
}
