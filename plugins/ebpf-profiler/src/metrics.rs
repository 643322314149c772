//! The names of what this crate counts and what they mean, in one place.

use ::metrics::{describe_counter, describe_gauge};

/// Gauge: processes that are reported or shall be.
pub const ENTITIES: &str = "perigee_capture_entities";
/// Counter: calls that report processes or say that they live, by `method` and `outcome` (`ok`, `failed`).
pub const REPORTS: &str = "perigee_capture_reports_total";
/// Gauge: what tasks have us capture now, one for each process of each task.
pub const TASKS_RUNNING: &str = "perigee_capture_tasks_running";
/// Counter: what tasks asked for and did not get, by `reason`: `command`, `malformed`, `network`, `full`,
/// `over` (its process was not known in its time), `capture` (the machine or the configuration forbade it
/// until its time was over).
pub const TASKS_REFUSED: &str = "perigee_capture_tasks_refused_total";
/// Counter: streams of profiling data by `outcome` (`ok`, `failed`); what a failed one held is sent again.
pub const UPLOADS: &str = "perigee_capture_uploads_total";
/// Counter: samples and waits of tasks that no OAP will see, by `reason`: `stacks` (more different stacks
/// than we remember), `late` (not taken by anybody for too long), `stopped` (we ended first).
pub const SAMPLES_DROPPED: &str = "perigee_capture_task_samples_dropped_total";
/// Gauge by `kind` (`on_cpu`, `off_cpu`): how captures are made. 4 BPF with unwind tables, 3 BPF with
/// frame pointers, 2 perf rings, 1 perf rings of own processes, 0 off.
pub const TIER: &str = "perigee_capture_tier";
/// Counter by `reason`: samples and waits that could not be kept. `ring` (we were slow), `counts` and `waits`
/// (a map was full), `unknown` (too many of a process that we had not looked at yet).
pub const SAMPLES_LOST: &str = "perigee_capture_samples_lost_total";
/// Counter by `reason`: walks in the kernel that ended before the thread's start. `unreadable` memory,
/// `rule` (the compiler's is one we do not have), `frame_pointer` (led nowhere).
pub const STACKS_INCOMPLETE: &str = "perigee_capture_stacks_incomplete_total";
/// Gauge: unwind rules that found no room.
pub const RULES_LOST: &str = "perigee_capture_unwind_rules_lost";

/// Tells the recorder what they mean; again does no harm.
pub fn describe() {
    describe_counter!(
        SAMPLES_LOST,
        "Samples and waits that could not be kept, by reason (ring, counts, waits, unknown)."
    );
    describe_counter!(
        STACKS_INCOMPLETE,
        "Walks that ended before the thread's start, by reason (unreadable, rule, frame_pointer)."
    );
    describe_gauge!(
        RULES_LOST,
        "Unwind rules that found no room: the code is walked by frame pointers."
    );
    describe_gauge!(ENTITIES, "Processes that are reported or shall be.");
    describe_counter!(
        REPORTS,
        "Calls that report processes or say that they live, by method and outcome (ok, failed)."
    );
    describe_gauge!(
        TASKS_RUNNING,
        "What tasks have captured now, one for each process of each task."
    );
    describe_counter!(
        TASKS_REFUSED,
        "What tasks asked for and did not get, by reason: command, malformed, network, full, over (its \
         process was not known in its time), capture (the machine or the configuration forbade it)."
    );
    describe_counter!(
        UPLOADS,
        "Streams of profiling data by outcome (ok, failed); what a failed one held is sent again."
    );
    describe_counter!(
        SAMPLES_DROPPED,
        "Samples and waits of tasks that no OAP will see, by reason: stacks (more different stacks than \
         are remembered), late (not taken by anybody for too long), stopped (the process ended first)."
    );
    describe_gauge!(
        TIER,
        "How captures are made, by kind (on_cpu, off_cpu): 4 BPF with unwind tables, 3 BPF with frame \
         pointers, 2 perf rings, 1 perf rings of own processes, 0 off."
    );
}
