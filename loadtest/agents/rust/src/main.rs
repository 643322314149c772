//! Produces segments with the SkyWalking Rust agent.
//!
//! usage: perigee-agent-rust COLLECTOR SERVICE INSTANCE COUNT [PER_SECOND]
//!
//! Prints the traceSegmentId of every segment, one a line, and exits 0 once the agent has sent them
//! all and had the answer. A segment that the agent drops, or a call that fails, makes it exit 1.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use skywalking::reporter::grpc::GrpcReporter;
use skywalking::trace::tracer::Tracer;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [collector, service, instance, count, rest @ ..] = &arguments[..] else {
        return Err("usage: COLLECTOR SERVICE INSTANCE COUNT [PER_SECOND]".into());
    };
    let count: u32 = count.parse()?;
    let per_second: f64 = rest.first().map_or(Ok(200.0), |rate| rate.parse())?;

    let failed = Arc::new(AtomicBool::new(false));
    let (on_error, on_status) = (Arc::clone(&failed), Arc::clone(&failed));
    let reporter = GrpcReporter::connect(format!("http://{collector}"))
        .await?
        .with_err_handle(move |message, error| {
            eprintln!("{message}: {error}");
            on_error.store(true, Ordering::Relaxed);
        });
    let (stop, stopped) = oneshot::channel::<()>();
    let reporting = reporter
        .reporting()
        .await
        .with_graceful_shutdown(async move { drop(stopped.await) })
        .with_status_handle(move |message, status| {
            eprintln!("{message}: {status}");
            on_status.store(true, Ordering::Relaxed);
        })
        .spawn();

    let tracer = Tracer::new(service, instance, reporter);
    for number in 0..count {
        let mut context = tracer.create_trace_context();
        {
            let _entry = context.create_entry_span(&format!("GET:/orders/{number}"));
            let _exit = context.create_exit_span("SELECT", "db:5432");
        }
        println!("{}", context.trace_segment_id());
        // Dropping the context reports it.
        drop(context);
        tokio::time::sleep(Duration::from_secs_f64(1.0 / per_second)).await;
    }

    drop(stop);
    reporting.await?;
    if failed.load(Ordering::Relaxed) {
        return Err("the agent did not send everything".into());
    }
    Ok(())
}
