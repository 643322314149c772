//! What a connection and its queued calls tell each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// Shared by the driver of one connection and its queued calls.
#[derive(Default)]
pub(super) struct Bond {
    waiting: Cell<u32>,
    driver: RefCell<Option<Waker>>,
    cut: Cell<bool>,
    bell: Notify,
}

impl Bond {
    /// Calls that wait for room for a half-read message. The driver is woken when that changes.
    pub(super) fn waiting(&self, cx: &Context<'_>) -> u32 {
        let mut driver = self.driver.borrow_mut();
        if !driver
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *driver = Some(cx.waker().clone());
        }
        self.waiting.get()
    }

    /// A call waits for room for a half-read message until this is dropped.
    pub(super) fn wait(self: &Rc<Self>) -> Waiting {
        let waiting = Waiting(Rc::clone(self));
        self.change(self.waiting.get() + 1);
        waiting
    }

    fn change(&self, waiting: u32) {
        self.waiting.set(waiting);
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// Tells the calls to end.
    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.bell.notify_waiters();
    }

    /// Resolves when the calls are told to end.
    pub(super) async fn until_cut(&self) {
        // On one thread nothing comes between the look and the registration.
        while !self.cut.get() {
            self.bell.notified().await;
        }
    }

    /// Whether no queued call is left.
    pub(super) fn is_free(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) == 1
    }
}

/// One waiting call.
pub(super) struct Waiting(Rc<Bond>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.change(self.0.waiting.get() - 1);
    }
}
