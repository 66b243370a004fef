//! A new master key: every key of a person is wrapped anew under it. The sealed values stay as they are.
//!
//! | | Step | If it ends here |
//! |-|------|-----------------|
//! | 0 | the rotation that is under way ends; every master key in use is at hand | nothing was done |
//! | 1 | the present master key is noted, all others are closed: they wrap no new key | both are at hand, everything opens; begin again |
//! | 2 | keys under a closed one are wrapped anew, so many at a time, each piece in one transaction | some are done; begin again, the rest follows |
//! | 3 | a closed one that wraps nothing any more is retired | begin again |
//!
//! Whoever has an old backup of the keys and the retired master key could still open what was erased since: destroying that master key ends it.

use uuid::Uuid;

use crate::{KeyStore, MasterKeys, SealingError, store::WrappedKey};

/// Keys of one transaction: short enough that nobody waits for it.
const PIECE: i64 = 500;

/// The advisory lock of the one rotation that is under way.
const ROTATION_LOCK: i64 = 0x6a61_7269_0003;

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Keys that were wrapped anew.
    pub keys: u64,
    /// Fingerprints of master keys that wrap nothing any more, of now and before.
    pub retired: Vec<String>,
}

impl KeyStore {
    /// Wraps every key under the present master key. May run while nodes serve, and be begun again at any time; `progress` hears how many are done.
    ///
    /// # Errors
    /// [`SealingError::MasterKeyMissing`] when one that is still in use is not at hand; [`SealingError::NotOpened`] when a key was changed in the
    /// database; [`SealingError::Database`].
    pub async fn rotate(&self, masters: &MasterKeys, mut progress: impl FnMut(u64)) -> Result<Rotated, SealingError> {
        let mut client = self.database.dedicated().await?;
        // One at a time, until this connection ends: the present key of one would be retired by the other, and forgotten, while it still wraps. Who comes
        // second waits for as long as the first one takes, and then hears of a master key that it does not have.
        client.batch_execute("SET statement_timeout = 0").await?;
        client.execute("SELECT pg_advisory_lock($1)", &[&ROTATION_LOCK]).await?;
        client.batch_execute("RESET statement_timeout").await?;
        self.opens_with(masters).await?;
        self.note_master(masters.present()).await?;
        let close = "UPDATE keys.master_keys SET closed_at = CASE WHEN master_id <> $1 THEN coalesce(closed_at, now()) END,
            retired_at = CASE WHEN master_id <> $1 THEN retired_at END";
        client.execute(close, &[&masters.present()]).await?;
        let mut keys = 0;
        for old in masters.ids().into_iter().filter(|id| *id != masters.present()) {
            // ends with a piece that is not full: a closed master key wraps nothing new, so each round leaves fewer
            loop {
                let transaction = client.transaction().await?;
                let rows = transaction.query(include_str!("sql/keys_to_rewrap.sql"), &[&old, &PIECE]).await?;
                let (mut ids, mut wrapped) = (Vec::<Uuid>::new(), Vec::new());
                for row in &rows {
                    let found = WrappedKey::of(row)?;
                    let subject: [u8; 32] = found.subject.as_slice().try_into().map_err(|_| SealingError::NotOpened)?;
                    wrapped.push(masters.wrap(&found.open(masters)?, &subject)?);
                    ids.push(found.key_id);
                }
                transaction.execute(include_str!("sql/rewrap.sql"), &[&ids, &wrapped, &masters.present()]).await?;
                transaction.commit().await?;
                keys += ids.len() as u64;
                progress(keys);
                if ids.len() < PIECE.unsigned_abs() as usize {
                    break;
                }
            }
        }
        let retire = "UPDATE keys.master_keys m SET retired_at = now() WHERE m.closed_at IS NOT NULL AND m.retired_at IS NULL
            AND NOT EXISTS (SELECT FROM keys.subject_keys k WHERE k.master_id = m.master_id)";
        client.execute(retire, &[]).await?;
        // the old wrappings go from the table's pages as soon as they may; on a large table that takes its time
        client.batch_execute("SET statement_timeout = 0").await?;
        client.batch_execute("VACUUM keys.subject_keys").await?;
        let rows = client.query("SELECT master_id FROM keys.master_keys WHERE retired_at IS NOT NULL ORDER BY master_id", &[]).await?;
        let retired = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<_, SealingError>>()?;
        Ok(Rotated { keys, retired })
    }
}
