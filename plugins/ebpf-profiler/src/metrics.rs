//! Names of the metrics that a capture exports.

// Tiers.

/// Gauge by `kind` (`on_cpu`, `off_cpu`): how captures are made. 4 BPF with unwind tables, 3 BPF with
/// frame pointers, 2 perf rings, 1 perf rings of own processes, 0 off.
pub const TIER: &str = "perigee_capture_tier";
