//! Compares signed heads with the log.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use jari_contract::LogHeadSigned;
use jari_event_store::{Database, Position, head_at};
use uuid::Uuid;

use crate::{HeadsError, Trusted};

/// The longest line that can be a head, in bytes.
const LONGEST_BYTES: usize = 4_096;

/// What a line of a file of heads proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The log has this head at this position.
    Holds(Position),
    /// It does not, or the line proves nothing: why.
    Broken(String),
    /// The last line was cut off, as by a crash while it was written: it says nothing, and the signer takes it away before it writes again.
    CutOff(String),
}

/// Reads a file of heads, line by line, against a log whose chain has been walked.
#[derive(Debug)]
pub struct HeadsCheck {
    database: Database,
    log_id: Uuid,
    /// The last position of the walk: the chain has proved itself up to here.
    walked: Position,
    trusted: Trusted,
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
    /// Signed heads so far, whatever they prove.
    heads: u64,
    is_over: bool,
}

impl HeadsCheck {
    /// Opens the file.
    ///
    /// # Errors
    /// [`HeadsError::File`].
    pub fn open(path: &Path, trusted: Trusted, database: Database, log_id: Uuid, walked: Position) -> Result<Self, HeadsError> {
        let file = File::open(path).map_err(HeadsError::file(path))?;
        Ok(Self { database, log_id, walked, trusted, path: path.to_owned(), lines: BufReader::new(file), line: 0, heads: 0, is_over: false })
    }

    /// The next head. `None` at the end of the file; before that a file without heads is told to prove nothing.
    ///
    /// # Errors
    /// [`HeadsError`] when file or log cannot be read.
    pub async fn step(&mut self) -> Result<Option<Checked>, HeadsError> {
        let line = self.read_line()?;
        if line.is_empty() {
            let is_void = !std::mem::replace(&mut self.is_over, true) && self.heads == 0;
            return Ok(is_void.then(|| Checked::Broken(format!("{}: holds no signed head, and so proves nothing", self.path.display()))));
        }
        self.line += 1;
        let at = format!("{}, line {}", self.path.display(), self.line);
        let Ok(head) = serde_json::from_slice::<LogHeadSigned>(&line) else {
            let is_whole = line.ends_with(b"\n") || line.len() > LONGEST_BYTES;
            return Ok(Some(match is_whole {
                true => Checked::Broken(format!("{at}: no signed head")),
                false => Checked::CutOff(format!("{at}: was cut off, as by a crash while it was written; it proves nothing")),
            }));
        };
        self.heads += 1;
        let position = head.position.to_position();
        let broken = self.fault(&head, position).await?;
        Ok(Some(broken.map_or(Checked::Holds(position), |why| Checked::Broken(format!("{at}: {why}")))))
    }

    /// The next line. Of one that can be no head only as much as shows it; empty at the end.
    fn read_line(&mut self) -> Result<Vec<u8>, HeadsError> {
        let mut line = Vec::new();
        let longest = u64::try_from(LONGEST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self.lines).take(longest).read_until(b'\n', &mut line).map_err(HeadsError::file(&self.path))?;
        if line.len() > LONGEST_BYTES && !line.ends_with(b"\n") {
            self.lines.skip_until(b'\n').map_err(HeadsError::file(&self.path))?;
        }
        Ok(line)
    }

    /// Why the head does not hold.
    async fn fault(&self, head: &LogHeadSigned, position: Position) -> Result<Option<String>, HeadsError> {
        if !self.trusted.signed(head) {
            return Ok(Some("not signed with a key that is trusted here".into()));
        }
        if head.log_id != self.log_id.to_string() {
            return Ok(Some(format!("of another log, {}", head.log_id)));
        }
        if position > self.walked {
            return Ok(Some(format!(
                "the log ends at {}, and at {} it reached {position}: its end was cut off, or an older copy was restored",
                self.walked, head.signed_at
            )));
        }
        Ok(match head_at(&self.database, position).await {
            Ok(Some(ours)) if head.head == crate::key::hex(&ours) => None,
            Ok(_) => Some(format!(
                "the log up to position {position} is not what it was at {}: something up to there was changed, and chained anew",
                head.signed_at
            )),
            Err(error) if error.is_damage() => {
                Some(format!("cannot be compared, since the log's head at position {position} cannot be read: {error}"))
            }
            Err(error) => return Err(error.into()),
        })
    }
}
