//! The proof of all of a log, from the database: its events, and the chain over them.

use jari_event_store::{ChainWalk, Database, Reader};

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
        let reader = Reader::new(database.clone());
        let head = reader.head().await?;
        let mut proof = Proof::default();
        let mut position = 0;
        // ends at the head of a moment ago
        while position < head {
            let page = reader.log_after(position, PAGE).await?;
            // a page may reach beyond, and end within a batch; the head is the end of one, so that no group is judged by a part of it
            let known = page.partition_point(|event| event.position <= head);
            let Some(last) = page[..known].last() else { break };
            position = last.position;
            for event in &page[..known] {
                proof.take(event);
            }
        }
        let mut chain = ChainWalk::begin(database.clone()).await?;
        // ends at the log's head: a page takes its batches from those after the one before it
        while let Some(broken) = chain.step().await? {
            broken.iter().for_each(|broken| proof.found(broken.to_string()));
        }
        let chained = chain.at().position;
        if chained < position {
            proof.found(format!("positions {} to {position}: no batch covers them", chained + 1));
        }
        Ok(Self { proof, chain })
    }
}
