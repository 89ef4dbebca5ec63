//! Torture: the real server is killed, made to abort, starved of disk and written to from all sides. What was acknowledged is there
//! afterwards, once; nothing else is; and doing it all again leads where an undisturbed run leads.
//!
//! What should be there is known to the test alone: [`shop`] has the orders and the acts that move them, [`ledger`] what the server
//! acknowledged of those, [`checks`] holds both against what is there. Rows come in by ingests and by pushes; served are the newest
//! of each customer, and windows that count all of them, so that a row which is lost or comes twice shows.
//!
//! [`kill`] ends the process at random moments, [`kafka`] does so while a topic is read, [`failpoints`] ends it at each named one;
//! [`disk_full`] takes its disk away, [`writers`] lets many write one table while it is compacted and vacuumed.
//!
//! A new way in for rows is one more [`shop::Act`] and [`ledger::Way`]; a new failpoint fails here until an act reaches it. Counts
//! come from the environment, see CONTRIBUTING.md.

mod checks;
mod disk_full;
mod failpoints;
mod kafka;
mod kill;
mod ledger;
mod shop;
mod writers;

/// A count or a seed from the environment, or what the test says.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A seed to begin with, told on standard output; `TIDEGATE_SEED` repeats it.
fn seed() -> u64 {
    let seed = number("TIDEGATE_SEED", 20_251_121);
    println!("repeat with TIDEGATE_SEED={seed}");
    seed
}
