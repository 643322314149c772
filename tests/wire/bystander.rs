//! An innocent agent that reports while another one misbehaves.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::soon;
use crate::gateway::Gateway;
use crate::messages::*;

const PACE: Duration = Duration::from_millis(1);

pub(crate) struct Bystander {
    stop: oneshot::Sender<()>,
    sending: JoinHandle<u64>,
}

impl Bystander {
    /// Reports on a connection of its own; the first report has arrived when this returns.
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let client = gateway.client().await;
        let (stop, mut stopped) = oneshot::channel();
        let sending = tokio::spawn(async move {
            let mut call = client.open(SEGMENTS).await;
            let mut sent = 0_u64;
            loop {
                let message = segment(&sent.to_string(), "bystander");
                soon(call.send(framed(&message))).await.unwrap();
                sent += 1;
                if tokio::time::timeout(PACE, &mut stopped).await.is_ok() {
                    break;
                }
            }
            call.half_close();
            assert_eq!(call.answer().await.ok(), EMPTY);
            sent
        });
        let first = gateway.sink().wait_until(|state| arrived(state) > 0);
        soon(first).await;
        Self { stop, sending }
    }

    /// It got its answer, and all of its reports have arrived once.
    pub(crate) async fn stays_unharmed(self, gateway: &Gateway) {
        self.stop.send(()).unwrap();
        let sent = soon(self.sending).await.unwrap();
        soon(gateway.sink().wait_until(|state| arrived(state) >= sent)).await;
        assert_eq!(arrived(&gateway.sink().snapshot()), sent);
    }
}

fn arrived(state: &perigee::sink::state::State) -> u64 {
    let methods = state.services.get(&filed_as("bystander"));
    methods.map_or(0, |methods| methods[SEGMENTS])
}
