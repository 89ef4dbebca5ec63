//! Random shops: users come by every way there is, some are erased, and the others are as they were. `TIDEGATE_ERASURES` rounds.

use super::everywhere::{Purchase, market, misfits, purchases};
use super::*;
use crate::service::tests::bench::{Dice, number};

/// All purchases happen within the window before this hour.
const NOW: i64 = 1_000;

const USERS: usize = 5;

struct Round {
    bench: Bench,
    dice: Dice,
    users: Vec<String>,
    erased: [bool; USERS],
    /// The hour of the last purchase: each is newer than those before.
    hour: i64,
    /// The newest amount, and how many purchases there were, by user.
    newest: [Option<f64>; USERS],
    counts: [u64; USERS],
    writes: u64,
}

impl Round {
    async fn new(seed: u64) -> Self {
        let bench = Bench::new().await;
        bench.apply(&market()).await.unwrap();
        bench.clock.set(NOW * HOUR);
        let users = (0..USERS).map(|nth| format!("erase-me-{nth}-{seed:x}-a6")).collect();
        let (newest, counts, erased) = ([None; USERS], [0; USERS], [false; USERS]);
        Self { bench, dice: Dice(seed), users, erased, hour: NOW - 700, newest, counts, writes: 0 }
    }

    /// A user who is not erased.
    fn user(&mut self) -> Option<usize> {
        let there: Vec<usize> = (0..USERS).filter(|&user| !self.erased[user]).collect();
        (!there.is_empty()).then(|| there[self.dice.roll(0..there.len() as i64) as usize])
    }

    /// Rows of some users by a way that is chosen by chance, or something else that servers do.
    async fn step(&mut self) {
        let Some(user) = self.user() else { return };
        let name = self.users[user].clone();
        match self.dice.roll(0..10) {
            0 => self.bench.flush("purchases").await,
            1 => self.bench.bring_up(false).await,
            2 => drop(self.bench.service.refresh(&self.bench.me, "shop", "large", false).await.unwrap()),
            3 => drop(self.bench.push(PushTo::Both, &[""], misfits(&[&name])).await),
            4 => drop(self.bench.push(PushTo::Both, &[""], purchases(&[(&name, "north", NOW + 1, 1.0)])).await),
            way => self.buy(way).await,
        }
    }

    async fn buy(&mut self, way: i64) {
        let mut bought = Vec::new();
        for _ in 0..self.dice.roll(1..4) {
            let Some(user) = self.user() else { return };
            let amount = self.dice.roll(1..100) as f64;
            self.hour += 1;
            (self.newest[user], self.counts[user]) = (Some(amount), self.counts[user] + 1);
            bought.push((self.users[user].clone(), self.hour, amount));
        }
        self.writes += 1;
        let of: Vec<Purchase<'_>> =
            bought.iter().map(|(name, at, amount)| (name.as_str(), "north", *at, *amount)).collect();
        let ids: Vec<String> = (0..).zip(&of).map(|(nth, of)| format!("{}:{}:{nth}", of.0, self.writes)).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        match way {
            5 | 6 => drop(self.bench.put("purchases", &format!("b{}", self.writes), purchases(&of)).await.unwrap()),
            7 => drop(self.bench.push(PushTo::Offline, &ids, purchases(&of)).await),
            _ => drop(self.bench.push(PushTo::Both, &ids, purchases(&of)).await),
        }
    }

    async fn erase(&mut self, user: usize) {
        let (name, folder) = (self.users[user].clone(), self.bench.folder.path().to_owned());
        self.bench.erase(&name).await;
        (self.newest[user], self.counts[user], self.erased[user]) = (None, 0, true);
        assert_eq!(holding(&folder, &name), Vec::<PathBuf>::new());
        let late = || purchases(&[(&name, "south", NOW - 1, 3.0)]);
        let id = format!("{name}:late");
        match self.dice.roll(0..4) {
            0 => drop(self.bench.put("purchases", &format!("late-{user}"), late()).await.unwrap_err()),
            1 => drop(self.bench.push(PushTo::Online, &[&id], late()).await),
            2 => drop(self.bench.push(PushTo::Both, &["late"], misfits(&[&name])).await),
            _ => drop(self.bench.push(PushTo::Both, &[&id], late()).await),
        }
        assert_eq!(holding(&folder, &name), Vec::<PathBuf>::new());
    }

    /// Everything is brought everywhere: nobody has anything else than the model.
    async fn check(&self) {
        self.bench.flush("purchases").await;
        self.bench.bring_up(false).await;
        for (nth, user) in self.users.iter().enumerate() {
            let keys = [("user_id", user.as_str())];
            assert_eq!(self.bench.value("by_user:spent", &keys), self.newest[nth], "{user}");
            assert_eq!(self.bench.value("lately:bought", &keys), Some(self.counts[nth] as f64), "{user}");
            if self.erased[nth] {
                assert_eq!(holding(self.bench.folder.path(), user), Vec::<PathBuf>::new());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "the seed repeats a failure")]
async fn random_users_are_erased_by_whatever_way_they_came() {
    let (first, rounds) = (number("TIDEGATE_SEED", 1), number("TIDEGATE_ERASURES", 1));
    for seed in first..first + rounds {
        println!("TIDEGATE_SEED={seed}");
        let mut round = Round::new(seed).await;
        for _ in 0..round.dice.roll(10..25) {
            round.step().await;
        }
        for _ in 0..round.dice.roll(1..USERS as i64) {
            let Some(user) = round.user() else { break };
            round.erase(user).await;
            round.step().await;
        }
        round.check().await;
        if round.dice.roll(0..2) == 0 {
            let bench = round.bench.restart().await;
            bench.clock.set(NOW * HOUR);
            round = Round { bench, ..round };
            round.check().await;
        }
    }
}
