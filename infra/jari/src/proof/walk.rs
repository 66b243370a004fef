//! The proof of all of a log, from the database: its events, and the chain over them.

use jari_domain::Position;
use jari_event_store::{ChainWalk, Database, Reader, newest_head, stray_events};

use super::Proof;

/// Events read at once.
const PAGE: usize = 10_000;

/// A log that was walked.
pub struct Walk {
    /// Of its events; and what is wrong with the chain.
    pub proof: Proof,
    /// The chain, at its end.
    pub chain: ChainWalk,
}

impl Walk {
    /// Walks the log as it stands now, the archive included. It may grow meanwhile.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn over(database: &Database) -> anyhow::Result<Self> {
        let mut proof = Proof::default();
        let position = walk_events(database, &mut proof).await?;
        let mut chain = ChainWalk::begin(database.clone()).await?;
        // ends at the log's head: a page takes its batches from those after the one before it
        while let Some(broken) = chain.step().await? {
            broken.iter().for_each(|broken| proof.found(broken.to_string()));
        }
        match stray_events(database).await {
            Ok(stray) => stray.iter().for_each(|(table, position)| {
                proof.found(format!("position {position}: stands in {table}, where the log has no place for it"));
            }),
            Err(error) if error.is_damage() => proof.found(format!("whether there are events outside the log cannot be seen: {error}")),
            Err(error) => return Err(error.into()),
        }
        let chained = chain.at().position;
        if chained < position {
            proof.found(format!("positions {} to {position}: no batch covers them", chained.next()));
        }
        Ok(Self { proof, chain })
    }
}

/// Has all events taken, as the log stands now; gives the last position.
async fn walk_events(database: &Database, proof: &mut Proof) -> anyhow::Result<Position> {
    let reader = Reader::new(database.clone());
    let head = match reader.head().await {
        // its last batch says as well where the log ends
        Err(error) if error.is_damage() => newest_head(database).await?.position,
        head => head?,
    };
    let (mut position, mut size) = (Position::START, PAGE);
    // ends at the head of a moment ago: each turn comes further, or asks for less than the one before
    while position < head {
        let page = match reader.log_after(position, size).await {
            Ok(page) => page,
            Err(error) if error.is_damage() && size > 1 => {
                size /= 2;
                continue;
            }
            Err(error) if error.is_damage() => {
                position = position.next();
                proof.damaged(position, &error.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        size = (size * 2).min(PAGE);
        // a page may reach beyond, and end within a batch; the head is the end of one, so that no group is judged by a part of it
        let known = page.partition_point(|event| event.position <= head);
        let Some(last) = page[..known].last() else { break };
        position = last.position;
        for event in &page[..known] {
            proof.take(event);
        }
    }
    Ok(position)
}
