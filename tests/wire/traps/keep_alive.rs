//! T22: a late heartbeat would revive the dead, and a second one in a batch says nothing.

use perigee::sink::fault::Fault;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use crate::client::soon;
use crate::gateway::Gateway;
use crate::messages::{EMPTY, KEEP_ALIVE, ping};

/// The row's minute is in the table's tests, and a minute of waiting in the scenarios.
#[tokio::test]
async fn t22_an_instance_is_kept_alive_once_a_batch() {
    let gateway = Gateway::start_with(1, |settings| {
        for pipe in &mut settings.pipes {
            pipe.sender.linger_time = std::time::Duration::from_millis(50);
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
    let gone = |state: &perigee::sink::state::State| state.messages(KEEP_ALIVE) >= 2;
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
