//! When a view is due.
//!
//! ```text
//! every: D        at the first whole multiple of D after the view was looked at last; at once when it never was
//! cron: "…"       at the first of its times after the view was looked at last, or after the server saw the schedule first
//! on_commit       whenever the table has what the view has not
//! ```
//! Times that passed while the server was down, or while a job ran, come together as one. A clock that is set back never makes a view
//! wait longer than its schedule says: a moment that lies ahead is forgotten.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_schemas::definition::Schedule;
use tidegate_schemas::time::Micros;

use super::retry::micros;
use super::{Job, State};

/// A project and a view of it.
pub type ViewKey = (String, String);

/// When each view was looked at.
#[derive(Debug, Default)]
pub struct Scheduler {
    views: Mutex<HashMap<ViewKey, Seen>>,
    /// Why views can't be looked at.
    troubles: Mutex<HashMap<ViewKey, String>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Micros,
    /// When there was nothing to do.
    looked: Option<Micros>,
}

/// What the table has that the view has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Something is to be done.
    pub work: bool,
    /// The table's newest version.
    pub newest: i64,
}

impl Scheduler {
    /// Whether a schedule's time has come. `last` is the view's newest job; one that has not ended makes nothing due.
    pub fn is_due(&self, view: &ViewKey, schedule: &Schedule, last: Option<&Job>, need: Need, now: Micros) -> bool {
        let seen = {
            let mut views = self.views.lock();
            let seen = views.entry(view.clone()).or_insert(Seen { first: now, looked: None });
            seen.first = seen.first.min(now);
            *seen
        };
        if last.is_some_and(|job| job.state.is_active()) {
            return false;
        }
        let began = last.map(|job| job.started_at.unwrap_or(job.created_at));
        let past = |at: &Micros| *at <= now;
        let at = began.filter(past).max(seen.looked.filter(past));
        let passed = |since| schedule.next_after(since).is_some_and(|next| next <= now);
        match schedule {
            Schedule::Every(_) => at.is_none_or(passed),
            Schedule::Cron(_) => passed(at.unwrap_or(seen.first)),
            Schedule::OnCommit => need.work,
        }
    }

    /// Notes that a view was due and had nothing to do.
    pub fn looked(&self, view: &ViewKey, now: Micros) {
        self.views.lock().entry(view.clone()).or_insert(Seen { first: now, looked: None }).looked = Some(now);
    }

    /// Notes why a view can't be looked at, or that it can; says whether that is another thing than the last time.
    pub fn is_news(&self, view: &ViewKey, trouble: Option<&str>) -> bool {
        let mut troubles = self.troubles.lock();
        let before = match trouble {
            Some(trouble) => troubles.insert(view.clone(), trouble.to_owned()),
            None => troubles.remove(view),
        };
        before.as_deref() != trouble
    }

    /// Forgets all views but these.
    pub fn forget_others(&self, views: &BTreeSet<ViewKey>) {
        self.views.lock().retain(|view, _| views.contains(view));
        self.troubles.lock().retain(|view, _| views.contains(view));
    }
}

/// Whether a job that did not end well keeps a commit from starting the next: until the table moves on, or so long.
pub(crate) fn holds_back(last: &Job, need: Need, now: Micros, longest: Duration) -> bool {
    let badly = matches!(last.state, State::Failed | State::Cancelled);
    let moved_on = last.progress.to_version > 0 && need.newest > last.progress.to_version;
    let since = now.saturating_sub(last.ended_at.unwrap_or(now));
    badly && !moved_on && (0..micros(longest)).contains(&since)
}
