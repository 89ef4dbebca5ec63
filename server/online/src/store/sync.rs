//! One sync of the log for all writes that wait for one.
//!
//! ```text
//! a write is in the log          -> a ticket
//! wait(ticket)   synced already  -> done
//!                a sync runs     -> wait for its end, look again
//!                otherwise       -> sync: it covers every ticket given out before it began
//! ```
//! A sync that fails fails the caller who ran it; the others try for themselves.

use parking_lot::{Condvar, Mutex};

use crate::Result;

/// A write that is in the log, and may not have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a write is durable once its ticket was waited for"]
pub struct Ticket(u64);

/// Who waits for the disk.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Tickets given out.
    given: u64,
    /// The newest of them that is on the disk.
    synced: u64,
    running: bool,
    /// Syncs that were run.
    runs: u64,
}

impl Syncs {
    /// A ticket for everything that is in the log now.
    pub(super) fn ticket(&self) -> Ticket {
        let mut state = self.state.lock();
        state.given += 1;
        Ticket(state.given)
    }

    /// Returns once the ticket's write is on the disk; `sync` brings the log there.
    pub(super) fn wait(&self, ticket: Ticket, sync: impl Fn() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        while state.synced < ticket.0 {
            if state.running {
                self.changed.wait(&mut state);
                continue;
            }
            state.running = true;
            let covers = state.given;
            drop(state);
            let outcome = sync();
            state = self.state.lock();
            state.running = false;
            state.runs += 1;
            if outcome.is_ok() {
                state.synced = state.synced.max(covers);
            }
            self.changed.notify_all();
            outcome?;
        }
        Ok(())
    }

    /// Syncs that were run since the store was opened.
    #[cfg(test)]
    pub(super) fn runs(&self) -> u64 {
        self.state.lock().runs
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Error;

    #[test]
    fn many_share_few_syncs_and_none_returns_before_one_that_covers_it() {
        let (syncs, written, on_disk) = (Syncs::default(), AtomicU64::new(0), AtomicU64::new(0));
        let start = Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..20 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        let ticket = syncs.ticket();
                        let sync = || {
                            let now = written.load(Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_millis(1));
                            on_disk.fetch_max(now, Ordering::SeqCst);
                            Ok(())
                        };
                        syncs.wait(ticket, sync).expect("synced");
                        assert!(on_disk.load(Ordering::SeqCst) >= mine, "acknowledged before it was on the disk");
                    }
                });
            }
        });
        assert!(syncs.runs() < 16 * 20 / 2, "{} syncs for {} writes", syncs.runs(), 16 * 20);
    }

    #[test]
    fn a_failed_sync_covers_nobody() {
        let syncs = Syncs::default();
        let ticket = syncs.ticket();
        assert!(syncs.wait(ticket, || Err(Error::corrupt("no disk"))).is_err());
        syncs.wait(ticket, || Ok(())).expect("another try");
        syncs.wait(ticket, || Err(Error::corrupt("nothing to do"))).expect("it is there already");
    }
}
