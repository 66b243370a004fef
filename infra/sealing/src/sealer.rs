//! Sealing and opening, as the edge uses them: keys are looked up and made as they are needed, kept for a moment, and destroyed.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jari_domain::Sealed;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    Erasure, ErasureList, KeyStore, MasterKeys, MasterSource, SealingError, Subject,
    cache::Cache,
    erasures::{PIECE, ReadUpTo, timestamp},
    key::{self, Mark, SealContext, SubjectKey},
    store::Known,
};

/// Times that a key is looked for anew when another node was first, or the master key was closed meanwhile.
const ATTEMPTS: usize = 4;
/// When to come back, for a caller who found too many others waiting for the keys.
const CROWDED: Duration = Duration::from_millis(200);

/// Bounds and patience.
#[derive(Debug, Clone, Copy)]
pub struct SealerSettings {
    /// Keys kept in memory.
    pub cached: usize,
    /// How long one is kept, to open with: an erasure by another node is seen here after so long.
    pub cached_for: Duration,
    /// How long a caller waits for the database of the keys.
    pub patience: Duration,
    /// How long nobody asks it after it did not answer; then one caller tries.
    pub rest: Duration,
    /// Callers that wait for it at once. Fewer than the engine has places: when the keys stand still, orders without personal data go on.
    pub waiting: usize,
}

impl Default for SealerSettings {
    fn default() -> Self {
        Self { cached: 10_000, cached_for: Duration::from_secs(3), patience: Duration::from_secs(2), rest: Duration::from_secs(1), waiting: 512 }
    }
}

/// What a sealed value says at present.
#[derive(Debug)]
pub enum Opened {
    /// Its key is there.
    Readable(Zeroizing<Vec<u8>>),
    /// Its key was destroyed; nobody reads it any more.
    Erased,
    /// Its key cannot be had at the moment, or is lost.
    Unavailable,
}

/// What an erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// When; of the first call, when this is a repeat.
    pub at: Timestamp,
    /// Whether there was a key to destroy.
    pub had_key: bool,
}

/// Seals and opens. Cloning shares it.
#[derive(Clone)]
pub struct Sealer(Result<Arc<Inner>, Arc<str>>);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_ok() { "Sealer" } else { "Sealer(off)" })
    }
}

struct Inner {
    store: KeyStore,
    source: MasterSource,
    list: Option<Arc<ErasureList>>,
    settings: SealerSettings,
    masters: RwLock<Arc<MasterKeys>>,
    /// Held for as long as it takes to read or change a map.
    cache: Mutex<Cache>,
    waiting: Semaphore,
    began: Instant,
    /// Nobody asks the database before this many milliseconds after `began`; 0 while it answers.
    resting_until: AtomicU64,
}

impl Sealer {
    /// Keeps no personal data, for `reason`, which says how to turn it on.
    #[must_use]
    pub fn off(reason: &str) -> Self {
        Self(Err(reason.into()))
    }

    /// Checks that the master keys are the right ones, applies the list of erasures, and is ready. The store's schema is up to date.
    ///
    /// # Errors
    /// [`SealingError::MasterKeyMissing`] when keys were wrapped by a master key that is not at hand; what a list or file has wrong;
    /// [`SealingError::Database`].
    pub async fn start(store: KeyStore, source: MasterSource, list: Option<ErasureList>, settings: SealerSettings) -> Result<Self, SealingError> {
        let masters = read_masters(&store, &source).await?;
        let mut carried_out = ReadUpTo::default();
        if let Some(list) = &list {
            let (gone, up_to) = store.agree(list).await?;
            carried_out = up_to;
            if gone > 0 {
                tracing::warn!(gone, "keys of erased persons had come back, as after a restore; the list of erasures destroyed them again");
            }
        }
        let (masters, list) = (RwLock::new(Arc::new(masters)), list.map(Arc::new));
        let cache = Mutex::new(Cache::new(settings.cached, settings.cached_for));
        let (waiting, resting_until) = (Semaphore::new(settings.waiting), AtomicU64::new(0));
        let inner = Arc::new(Inner { store, source, list, settings, masters, cache, waiting, began: Instant::now(), resting_until });
        // joined by nobody: it ends with the last sealer
        tokio::spawn(sweep(Arc::downgrade(&inner), settings.cached_for, carried_out));
        Ok(Self(Ok(inner)))
    }

    /// Whether personal data is kept, and the keys answer, as far as is known without asking them; else why it is not kept.
    ///
    /// # Errors
    /// The reason why none is kept.
    pub fn answers(&self) -> Result<bool, &str> {
        let inner = self.0.as_ref().map_err(|reason| &**reason)?;
        Ok(inner.resting_until.load(Ordering::Relaxed) == 0)
    }

    fn inner(&self) -> Result<&Arc<Inner>, SealingError> {
        self.0.as_ref().map_err(|reason| SealingError::Off { reason: reason.to_string() })
    }

    /// Seals a person's data for its place, and makes the mark that stands for it in a digest. The person's first value makes the key.
    ///
    /// # Errors
    /// [`SealingError::Off`], [`SealingError::Unavailable`]; [`SealingError::TooLarge`].
    pub async fn seal(&self, subject: &Subject, context: &SealContext<'_>, clear: &[u8]) -> Result<(Sealed, Mark), SealingError> {
        let key = self.inner()?.key_of(subject).await?;
        Ok((key.seal(context, clear)?, key.mark(context, clear)))
    }

    /// Opens a value that stands at this place.
    pub async fn open(&self, context: &SealContext<'_>, sealed: &Sealed) -> Opened {
        let (Ok(inner), Some(id)) = (self.inner(), key::key_id(sealed)) else { return Opened::Unavailable };
        match inner.key(id).await {
            Ok(Some(key)) => key.open(context, sealed).map_or_else(
                |_| {
                    tracing::warn!(key = %id, aggregate = context.aggregate_id, "a sealed value does not open at its place: it was moved or changed");
                    Opened::Unavailable
                },
                Opened::Readable,
            ),
            Ok(None) => Opened::Erased,
            Err(_) => Opened::Unavailable,
        }
    }

    /// Destroys the person's key, after writing that to the list. The same request again says what the first one did. A person who comes back later
    /// gets a new key, which opens nothing from before.
    ///
    /// # Errors
    /// [`SealingError::RequestReused`]; [`SealingError::File`] when the list cannot be written: then nothing was destroyed;
    /// [`SealingError::Unavailable`]: it may be on the list by then, and is carried out as soon as the keys answer; [`SealingError::Off`].
    pub async fn erase(&self, subject: &Subject, requested_by: &str, request_id: Uuid) -> Result<Erased, SealingError> {
        let inner = self.inner()?;
        // the work goes on when its caller hangs up: what is on the list is then destroyed, too, at once
        let work = {
            let (inner, subject, requested_by) = (inner.clone(), *subject, requested_by.to_owned());
            async move { inner.ask(inner.destroy(&subject, &requested_by, request_id)).await }
        };
        // joined here; if the caller hangs up it ends by itself, within the patience of `ask`
        tokio::spawn(work).await.unwrap_or_else(|_| Err(inner.unavailable()))
    }
}

/// Forgets keys whose time is over, for as long as somebody uses them; asks a database again that did not answer: at night nobody else may, and it
/// would be told as away till morning; and carries out what is on the list and was not done.
async fn sweep(inner: Weak<Inner>, every: Duration, mut carried_out: ReadUpTo) {
    let mut rounds = tokio::time::interval(every.max(Duration::from_millis(100)));
    // the last failure, so that it is said once
    let mut said = String::new();
    // ends with the sealer
    while let Some(inner) = inner.upgrade() {
        inner.cache().sweep();
        if inner.resting_until.load(Ordering::Relaxed) != 0 {
            // whatever it says is noted by the asking
            let _ = inner.ask(inner.store.answers()).await;
        }
        // whatever fails is tried again in the next round
        match inner.carry_out(carried_out).await {
            Ok(up_to) => (carried_out, said) = (up_to, String::new()),
            // said by the asking
            Err(SealingError::Unavailable { .. }) => {}
            Err(error) if said == error.to_string() => {}
            Err(error) => {
                tracing::error!(%error, "the list of erasures cannot be read: what is on it and was not done is not carried out");
                said = error.to_string();
            }
        }
        drop(inner);
        rounds.tick().await;
    }
}

impl Inner {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn masters(&self) -> Arc<MasterKeys> {
        self.masters.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unavailable(&self) -> SealingError {
        SealingError::Unavailable { retry_after: self.settings.rest }
    }

    /// Asks the database of the keys, within bounds. After it did not answer nobody asks for a while, and then one caller tries.
    async fn ask<T>(&self, work: impl Future<Output = Result<T, SealingError>>) -> Result<T, SealingError> {
        let now = || u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let until = self.resting_until.load(Ordering::Relaxed);
        if until != 0 {
            let mine = now() + millis(self.settings.patience) + 1;
            if now() < until || self.resting_until.compare_exchange(until, mine, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                return Err(self.unavailable());
            }
        }
        let Ok(_permit) = self.waiting.try_acquire() else { return Err(SealingError::Unavailable { retry_after: CROWDED }) };
        let why = match tokio::time::timeout(self.settings.patience, work).await {
            Ok(Err(SealingError::Database(error))) => error.to_string(),
            Ok(done) => {
                self.resting_until.store(0, Ordering::Relaxed);
                return done;
            }
            Err(_) => "no answer in time".to_owned(),
        };
        if until == 0 {
            tracing::warn!(error = why, "the database of the keys did not answer; orders without personal data go on");
        } else {
            tracing::debug!(error = why, "the database of the keys still does not answer");
        }
        self.resting_until.store(now() + millis(self.settings.rest), Ordering::Relaxed);
        Err(self.unavailable())
    }

    /// The person's present key, made when there is none. Always asked for: see the cache.
    async fn key_of(&self, subject: &Subject) -> Result<Arc<SubjectKey>, SealingError> {
        let before = self.cache().before();
        let key = Arc::new(self.ask(self.find_or_make(subject)).await?);
        self.cache().put(before, key.id(), Some(key.clone()));
        Ok(key)
    }

    async fn find_or_make(&self, subject: &Subject) -> Result<SubjectKey, SealingError> {
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.store.find_of(subject).await? {
                match found.open(&self.masters()) {
                    Err(SealingError::MasterKeyMissing { .. }) => self.read_masters_again().await?,
                    done => return done,
                }
            } else {
                let key = SubjectKey::make()?;
                if self.store.add(&key, subject, &self.masters()).await? {
                    return Ok(key);
                }
                // another was first, or a rotation has closed the master key
                self.read_masters_again().await?;
            }
        }
        Err(self.unavailable())
    }

    /// The key; `None` when it was destroyed.
    async fn key(&self, id: Uuid) -> Result<Option<Arc<SubjectKey>>, SealingError> {
        if let Some(known) = self.cache().key(id) {
            return Ok(known);
        }
        let before = self.cache().before();
        let found = self.ask(self.find(id)).await?.map(Arc::new);
        self.cache().put(before, id, found.clone());
        Ok(found)
    }

    async fn find(&self, id: Uuid) -> Result<Option<SubjectKey>, SealingError> {
        for _ in 0..2 {
            let found = match self.store.find(id).await? {
                Known::Kept(found) => found,
                Known::Erased => return Ok(None),
                Known::Never => {
                    tracing::warn!(key = %id, "a value is sealed under a key that is neither there nor erased: were the keys restored from an older backup?");
                    return Err(SealingError::NotOpened);
                }
            };
            match found.open(&self.masters()) {
                Err(SealingError::MasterKeyMissing { .. }) => self.read_masters_again().await?,
                done => return done.map(Some),
            }
        }
        Err(self.unavailable())
    }

    async fn read_masters_again(&self) -> Result<(), SealingError> {
        let masters = read_masters(&self.store, &self.source).await.inspect_err(|error| {
            tracing::error!(%error, "the master keys at hand are not those of the store: were they rotated? See `jari keys`");
        })?;
        *self.masters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(masters);
        Ok(())
    }

    /// Destroys what stands on the list after `from`, and says up to where that is done. An erasure whose caller was told to come again, since the
    /// database did not answer after the line was written; one whose node died then; one that another node was asked for. What was done is done again,
    /// which changes nothing.
    async fn carry_out(&self, from: ReadUpTo) -> Result<ReadUpTo, SealingError> {
        let Some(list) = self.list.clone() else { return Ok(from) };
        let news = tokio::task::spawn_blocking(move || list.news(from)).await;
        let (listed, up_to) = news.unwrap_or_else(|_| Err(self.unavailable()))?;
        for piece in listed.chunks(PIECE) {
            let gone = self.ask(self.store.apply(piece)).await?;
            piece.iter().filter_map(|erasure| erasure.key_id).for_each(|id| self.cache().destroyed(id));
            if gone > 0 {
                tracing::warn!(gone, "erasures that were on the list and not done were carried out");
            }
        }
        Ok(up_to)
    }

    async fn destroy(&self, subject: &Subject, requested_by: &str, request_id: Uuid) -> Result<Erased, SealingError> {
        let mut client = self.store.database.connection().await?;
        let transaction = client.transaction().await?;
        // one request at a time: its repeat, sent at once, waits here and finds it done
        transaction.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&format!("{requested_by} {request_id}")]).await?;
        let bytes = subject.bytes().as_slice();
        if let Some(row) = transaction.query_opt(include_str!("sql/find_erasure.sql"), &[&requested_by, &request_id]).await? {
            if row.try_get::<_, &[u8]>(1)? != bytes {
                return Err(SealingError::RequestReused);
            }
            return Ok(Erased { at: timestamp(row.try_get(2)?), had_key: row.try_get::<_, Option<Uuid>>(0)?.is_some() });
        }
        let row = transaction.query_opt("SELECT key_id FROM keys.subject_keys WHERE subject = $1 FOR UPDATE", &[&bytes]).await?;
        let key_id: Option<Uuid> = row.map(|row| row.try_get(0)).transpose()?;
        // what PostgreSQL keeps of a time, so that a repeat hears the same
        let at = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or(Timestamp::UNIX_EPOCH);
        let erasure = Erasure { key_id, subject: *subject, erased_at: at, requested_by: requested_by.to_owned(), request_id };
        if let Some(list) = self.list.clone() {
            // first the list, then the key: a restored backup must find every key that was ever destroyed on it
            let listed = erasure.clone();
            tokio::task::spawn_blocking(move || list.add(&[listed])).await.unwrap_or_else(|_| Err(self.unavailable()))?;
        }
        let (at_there, ids) = (crate::erasures::instant(at), [key_id]);
        transaction
            .query(
                include_str!("sql/apply_erasures.sql"),
                &[&ids.as_slice(), &[bytes].as_slice(), &[at_there].as_slice(), &[requested_by].as_slice(), &[request_id].as_slice()],
            )
            .await?;
        transaction.commit().await?;
        key_id.into_iter().for_each(|id| self.cache().destroyed(id));
        Ok(Erased { at, had_key: key_id.is_some() })
    }
}

/// The master keys at hand, which must be all that are in use; the present one is noted before it wraps anything.
async fn read_masters(store: &KeyStore, source: &MasterSource) -> Result<MasterKeys, SealingError> {
    let mut masters = source.read()?;
    store.opens_with(&masters).await?;
    masters.prefer_open(&store.closed_masters().await?);
    store.note_master(masters.present()).await?;
    Ok(masters)
}
