//! Compares signed heads with the log.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use jari_contract::LogHeadSigned;
use jari_event_store::{Database, head_at};
use uuid::Uuid;

use crate::{HeadsError, Trusted};

/// The longest line that can be a head, in bytes.
const LONGEST: u64 = 4_096;

/// What a line of a file of heads proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The log has this head at this position.
    Holds(u64),
    /// It does not, or the line proves nothing: why.
    Broken(String),
}

/// Reads a file of heads, line by line, against a log whose chain has been walked.
#[derive(Debug)]
pub struct HeadsCheck {
    database: Database,
    log_id: Uuid,
    /// The last position of the walk: the chain has proved itself up to here.
    walked: u64,
    trusted: Trusted,
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
}

impl HeadsCheck {
    /// Opens the file.
    ///
    /// # Errors
    /// [`HeadsError::File`].
    pub fn open(path: &Path, trusted: Trusted, database: Database, log_id: Uuid, walked: u64) -> Result<Self, HeadsError> {
        let file = File::open(path).map_err(HeadsError::file(path))?;
        Ok(Self { database, log_id, walked, trusted, path: path.to_owned(), lines: BufReader::new(file), line: 0 })
    }

    /// The next head. `None` at the end of the file.
    ///
    /// # Errors
    /// [`HeadsError`] when file or log cannot be read.
    pub async fn step(&mut self) -> Result<Option<Checked>, HeadsError> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(LONGEST).read_until(b'\n', &mut line).map_err(HeadsError::file(&self.path))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        let at = format!("{}, line {}", self.path.display(), self.line);
        let Ok(head) = serde_json::from_slice::<LogHeadSigned>(&line) else {
            return Ok(Some(Checked::Broken(format!("{at}: no signed head"))));
        };
        let position = head.position.get();
        let broken = if !self.trusted.signed(&head) {
            Some("not signed with a key that is trusted here".to_owned())
        } else if head.log_id != self.log_id.to_string() {
            Some(format!("of another log, {}", head.log_id))
        } else if position > self.walked {
            Some(format!(
                "the log ends at {}, and at {} it reached {position}: its end was cut off, or an older copy was restored",
                self.walked, head.signed_at
            ))
        } else {
            match head_at(&self.database, position).await? {
                Some(ours) if head.head == crate::key::hex(&ours) => None,
                _ => Some(format!(
                    "the log up to position {position} is not what it was at {}: something up to there was changed, and chained anew",
                    head.signed_at
                )),
            }
        };
        Ok(Some(broken.map_or(Checked::Holds(position), |why| Checked::Broken(format!("{at}: {why}")))))
    }
}
