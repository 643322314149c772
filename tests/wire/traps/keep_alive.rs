//! T22: a late heartbeat would revive the dead, and a second one in a batch says nothing.

use std::time::{Duration, Instant};

use perigee::sink::fault::{CodeName, Fault};
use perigee::sink::state::State;
use perigee::telemetry::books::DropReason;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use crate::client::soon;
use crate::gateway::Gateway;
use crate::messages::{EMPTY, KEEP_ALIVE, ping};

const PROPERTIES: &str = "/skywalking.v3.ManagementService/reportInstanceProperties";

/// Go agents send their properties once for ever.
#[tokio::test]
async fn t22_after_a_minute_a_heartbeat_is_dropped_and_properties_are_not() {
    let gateway = Gateway::start(1).await;
    gateway.sink().set_fault(Fault {
        refuse: Some(CodeName(tonic::Code::Unavailable)),
        ..Fault::default()
    });
    let client = gateway.client().await;
    let began = Instant::now();
    for path in [KEEP_ALIVE, PROPERTIES] {
        assert_eq!(client.unary(path, &ping("shop")).await.ok(), EMPTY);
    }
    let expired = |gateway: &Gateway| gateway.app.books.totals().dropped_for(DropReason::Expired);
    while expired(&gateway) == 0 {
        assert!(began.elapsed() < Duration::from_secs(70));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(60));
    gateway.sink().set_fault(Fault::default());
    let there = |state: &State| state.messages(PROPERTIES) == 1;
    soon(gateway.sink().wait_until(there)).await;
    let totals = gateway.stop().await;
    assert_eq!((totals.received, totals.delivered), (2, 1));
}

#[tokio::test]
async fn t22_an_instance_is_kept_alive_once_a_batch() {
    let gateway = Gateway::start_with(1, |settings| {
        for pipe in &mut settings.pipes {
            pipe.sender.linger_time = Duration::from_millis(50);
        }
    })
    .await;
    gateway.sink().set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    for _ in 0..30 {
        for service in ["cart", "shop"] {
            assert_eq!(client.unary(KEEP_ALIVE, &ping(service)).await.ok(), EMPTY);
        }
    }
    gateway.sink().set_fault(Fault::default());
    let gone = |state: &State| state.messages(KEEP_ALIVE) >= 2;
    soon(gateway.sink().wait_until(gone)).await;
    let totals = gateway.stop().await;
    assert_eq!(totals.received, 60);
    assert_eq!(totals.delivered + totals.merged, 60);
    assert!(totals.delivered <= 30, "{totals:?}");
    assert!(totals.merged >= 30, "{totals:?}");
}

/// Instances of one service, and a ping that names nobody, are all different.
#[tokio::test]
async fn t22_different_instances_are_all_kept_alive() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    for number in 0..40 {
        let ping = sw::InstancePingPkg {
            service: "shop".to_owned(),
            service_instance: format!("i{}", number % 20),
            layer: String::new(),
        };
        client.unary(KEEP_ALIVE, &ping.encode_to_vec()).await.ok();
    }
    gateway
        .wait_for("all instances", |gateway| {
            gateway.sink().snapshot().services.len() == 20
        })
        .await;
}
