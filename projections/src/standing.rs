//! Where a view stands, as far as this node knows, and who waits for it to get on.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jari_domain::Position;
use jari_event_store::{Database, LogError};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    builds::{self, Build},
    projection::Projection,
};

/// The live build that this program can read, and its position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `None` until there is one of this program's version.
    pub build: Option<Build>,
    pub position: Position,
}

/// One view on this node: shared by its runner and the queries.
pub(crate) struct ViewState {
    pub view: &'static dyn Projection,
    standing: watch::Sender<Standing>,
    waiters: AtomicUsize,
    asked: Notify,
    trouble: Mutex<Option<String>>,
    /// When the database last answered whoever writes the view here, or looks how far another node has come.
    answered: Mutex<Instant>,
}

/// Leaves the count of waiters however the wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ViewState {
    pub fn new(view: &'static dyn Projection) -> Self {
        let standing = watch::Sender::new(Standing::default());
        Self { view, standing, waiters: AtomicUsize::new(0), asked: Notify::new(), trouble: Mutex::new(None), answered: Mutex::new(Instant::now()) }
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Tells how far the build has come. Positions of one build only rise: a late word of less is dropped.
    pub fn tell(&self, build: Option<Build>, position: Position) {
        self.standing.send_if_modified(|known| {
            let news = known.build != build || known.position < position;
            if news {
                *known = Standing { build, position };
            }
            news
        });
    }

    /// Asks the database.
    pub async fn refresh(&self, database: &Database) -> Result<(), LogError> {
        let client = database.connection().await?;
        match builds::live(&**client, self.view).await? {
            Some((build, position)) if build.version == self.view.version() => self.tell(Some(build), position),
            _ => self.tell(None, Position::START),
        }
        self.answers();
        Ok(())
    }

    /// Waits until there is a build that has read up to `position`; says where it stands then, or at the end of the wait.
    pub async fn reach(&self, position: Position, until: Instant) -> Standing {
        let mut standing = self.standing.subscribe();
        let there = |s: &Standing| s.build.is_some() && s.position >= position;
        if there(&standing.borrow()) {
            return standing.borrow().clone();
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiters);
        self.asked.notify_one();
        // At the end of the time the answer is the same: what is known.
        let _ = tokio::time::timeout_at(until, standing.wait_for(there)).await;
        let known = standing.borrow();
        known.clone()
    }

    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Returns when somebody begins to wait.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// What keeps the view from going on; `None`: nothing.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the database has been silent. While it stands still nothing fails: who waits for it waits.
    pub fn silence(&self) -> Duration {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The database answered.
    pub fn answers(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
