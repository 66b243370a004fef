//! Leases: one owner of a role at a time, each with an epoch that the append checks.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use crate::{
    Database, LogError,
    patience::within,
    record::{signed, timestamp, unsigned},
};

const TAKE: &str = include_str!("sql/take_lease.sql");
const RENEW: &str = include_str!("sql/renew_lease.sql");
const RELEASE: &str = "UPDATE leases SET expires_at = clock_timestamp() WHERE name = $1 AND holder = $2 AND epoch = $3";
const READ: &str = "SELECT holder, address, epoch, expires_at > clock_timestamp(), expires_at FROM leases WHERE name = $1";

/// How long giving a lease back may take. It only spares the next owner a wait: a node that stops does not wait long for it.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Between two looks at a lease whose holder does not answer.
const DOUBT_AGAIN: Duration = Duration::from_millis(200);

/// Who holds a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The node's id.
    pub holder: Arc<str>,
    /// Where it serves.
    pub address: Arc<str>,
    /// Rises with each new owner.
    pub epoch: u64,
    /// Whether it has not run out, by the database's clock.
    pub live: bool,
}

/// What this node knows of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// This node's, with its epoch.
    Mine(u64),
    /// Another's.
    Theirs(LeaseRow),
    /// Nobody's that is known: not asked yet, or the database is away.
    Unknown,
}

/// Takes, renews and watches one lease.
#[derive(Debug, Clone)]
pub struct LeaseKeeper {
    state: watch::Receiver<Lease>,
    doubted: Arc<Notify>,
}

struct Keeper {
    database: Database,
    name: &'static str,
    holder: String,
    address: String,
    lasts: Duration,
    state: watch::Sender<Lease>,
    doubted: Arc<Notify>,
    unchanged: Option<Unchanged>,
}

/// The end of a lease as it was seen, and since when it is the same. It is told by the database's clock, which may have been set back meanwhile: an owner
/// that is gone would have its role until that clock is there again. Each renewal and each new owner writes another end.
#[derive(Debug, Clone, Copy)]
struct Unchanged {
    end: SystemTime,
    since: Instant,
}

impl Unchanged {
    /// What is known when the lease ends at `end`, and `before` was known.
    fn look(before: Option<Self>, end: SystemTime) -> Self {
        before.filter(|before| before.end == end).unwrap_or_else(|| Self { end, since: Instant::now() })
    }

    /// The end, when nobody has renewed the lease for longer than it lasts, by a clock that nobody sets.
    fn overdue(self, lasts: Duration, now: Instant) -> Option<SystemTime> {
        (now.saturating_duration_since(self.since) > lasts).then_some(self.end)
    }
}

/// Who holds `name`, and when the lease runs out unless it is renewed; `None` when nobody ever held it.
///
/// # Errors
/// [`LogError::Database`].
pub async fn read_lease(database: &Database, name: &str) -> Result<Option<(LeaseRow, Timestamp)>, LogError> {
    let client = database.connection().await?;
    let Some(row) = client.query_opt(READ, &[&name]).await? else { return Ok(None) };
    Ok(Some((LeaseRow::of(&row)?, timestamp(row.try_get(4)?))))
}

impl LeaseRow {
    /// A row of [`READ`].
    fn of(row: &Row) -> Result<Self, LogError> {
        let (holder, address): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Self { holder: holder.into(), address: address.into(), epoch: unsigned(row.try_get(2)?), live: row.try_get(3)? })
    }
}

impl Lease {
    /// The epoch, while it is this node's.
    fn epoch(&self) -> Option<u64> {
        match self {
            Self::Mine(epoch) => Some(*epoch),
            Self::Theirs(_) | Self::Unknown => None,
        }
    }
}

impl LeaseKeeper {
    /// Keeps trying to take `name` and renews it a third of the way through; gives it back when `stop` is cancelled.
    ///
    /// `wants` false only watches. Join the task: it gives the lease back before it ends.
    pub fn start(
        database: Database,
        name: &'static str,
        node: (String, String),
        lasts: Duration,
        wants: bool,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, state) = watch::channel(Lease::Unknown);
        let doubted = Arc::new(Notify::new());
        let keeper = Keeper { database, name, holder: node.0, address: node.1, lasts, state: sender, doubted: doubted.clone(), unchanged: None };
        // joined by the caller; it ends with `stop`
        (Self { state, doubted }, tokio::spawn(keeper.run(wants, stop)))
    }

    /// What is known now.
    #[must_use]
    pub fn current(&self) -> Lease {
        self.state.borrow().clone()
    }

    /// To be notified by whoever finds that the holder does not answer: the lease is then looked at at once rather than at its next third, at most
    /// five times a second.
    #[must_use]
    pub fn doubt(&self) -> Arc<Notify> {
        self.doubted.clone()
    }

    /// Follows what is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Lease> {
        self.state.clone()
    }
}

impl Keeper {
    async fn run(mut self, wants: bool, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(self.lasts / 3);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut heard, mut looked) = (Instant::now(), Instant::now());
        // Ends with `stop`.
        while tokio::select! { _ = rounds.tick() => true, () = self.doubt(looked) => true, () = stop.cancelled() => false } {
            looked = Instant::now();
            match tokio::time::timeout(self.lasts / 3, self.round(wants)).await {
                Ok(Ok(lease)) => {
                    heard = Instant::now();
                    self.tell(lease);
                }
                // The append checks the epoch, so an owner that has not heard for a while does no harm; it only stops trying.
                Ok(Err(_)) | Err(_) if heard.elapsed() > self.lasts => self.tell(Lease::Unknown),
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "a lease was not renewed"),
                Err(_) => tracing::warn!(lease = self.name, "a lease was not renewed: the database is slow"),
            }
        }
        let held = self.state.borrow().epoch();
        if let Some(epoch) = held {
            let give_back = async {
                let client = self.database.connection().await?;
                client.execute(RELEASE, &[&self.name, &self.holder, &signed(epoch)]).await.map_err(LogError::from)
            };
            // If this fails, or the database stands still, the lease runs out by itself.
            let _ = within(GIVE_BACK, give_back).await;
        }
    }

    /// Returns when the holder is in doubt, and was not looked at just now.
    async fn doubt(&self, looked: Instant) {
        self.doubted.notified().await;
        tokio::time::sleep_until(looked + DOUBT_AGAIN).await;
    }

    fn tell(&self, lease: Lease) {
        self.state.send_if_modified(|known| {
            let news = *known != lease;
            *known = lease;
            news
        });
    }

    async fn round(&mut self, wants: bool) -> Result<Lease, LogError> {
        let asked = Instant::now();
        let mut client = self.database.connection().await?;
        let millis = i64::try_from(self.lasts.as_millis()).unwrap_or(i64::MAX);
        let mine = self.state.borrow().epoch();
        if let Some(epoch) = mine
            && client.execute(RENEW, &[&self.name, &self.holder, &signed(epoch), &millis]).await? == 1
        {
            return Ok(Lease::Mine(epoch));
        }
        let seen = client.query_opt(READ, &[&self.name]).await?;
        let theirs = seen.as_ref().map(LeaseRow::of).transpose()?;
        let end = seen.as_ref().map(|row| row.try_get(4)).transpose()?;
        self.unchanged = end.map(|end| Unchanged::look(self.unchanged, end));
        let overdue = self.unchanged.and_then(|it| it.overdue(self.lasts, asked));
        let is_mine = |row: &LeaseRow| *row.holder == *self.holder && *row.address == *self.address;
        if !wants || theirs.as_ref().is_some_and(|row| row.live && overdue.is_none() && !is_mine(row)) {
            return Ok(theirs.map_or(Lease::Unknown, Lease::Theirs));
        }
        // The head's lock keeps a new epoch and an append apart: whatever the old owner lands, it lands before this commits.
        let transaction = client.transaction().await?;
        // A round that is given up hands its connection back with this wait still on it: it ends by itself, or the pool would fill with such.
        let bound = format!("SET LOCAL lock_timeout = {}", (self.lasts / 3).as_millis().max(1));
        transaction.batch_execute(&bound).await?;
        transaction.execute("SELECT lock_log_head()", &[]).await?;
        let taken = transaction.query_opt(TAKE, &[&self.name, &self.holder, &self.address, &millis, &overdue]).await?;
        transaction.commit().await?;
        Ok(match taken {
            Some(row) => Lease::Mine(unsigned(row.try_get(0)?)),
            None => theirs.map_or(Lease::Unknown, Lease::Theirs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_overdue_when_nobody_renewed_it_for_longer_than_it_lasts() {
        let (lasts, end) = (Duration::from_secs(5), SystemTime::UNIX_EPOCH + Duration::from_secs(3_600));
        let first = Unchanged::look(None, end);
        let again = Unchanged::look(Some(first), end);
        assert_eq!(again.overdue(lasts, first.since + lasts), None);
        assert_eq!(again.overdue(lasts, first.since + lasts * 2), Some(end), "whatever the database's clock says until then");
        let renewed = Unchanged::look(Some(again), end + Duration::from_secs(1));
        assert_eq!(renewed.overdue(lasts, renewed.since + lasts), None, "its owner lives");
    }
}
