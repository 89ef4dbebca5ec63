//! Torture: the real server is killed, made to abort, starved of disk and written to from all sides. What was acknowledged is there
//! afterwards, once; nothing else is; and doing it all again leads where an undisturbed run leads.
//!
//! What should be there is known to the test alone: [`shop`] has the orders, the acts that move them, and a ledger of what the
//! server acknowledged. [`kill`] ends the process at random moments, [`failpoints`] at each named one, [`disk_full`] takes its disk
//! away, [`writers`] lets many write one table while it is compacted and vacuumed.
//!
//! A new way in for rows is one more [`shop::Act`], with what it acknowledges in the ledger; a new failpoint fails here until an
//! act reaches it. Counts come from the environment, see CONTRIBUTING.md.

mod disk_full;
mod failpoints;
mod kill;
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
