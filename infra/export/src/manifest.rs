//! What a folder of an export holds: one manifest a step, each written whole and in one move after the files that it names.

use std::{fs, path::Path};

use jari_event_store::{Position, RecordedEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{error::ExportError, file::hex};

/// Of this shape.
pub(crate) const VERSION: u32 = 1;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A table for each type of event, typed columns, zstd.
    Parquet,
    /// A line of JSON for each event, in the order of the log.
    Jsonl,
}

impl Format {
    /// As it is asked for, and written down.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }

    /// The format of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Parquet, Self::Jsonl].into_iter().find(|format| format.name() == name)
    }
}

/// One step: the events after one position up to another, and the files that hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepManifest {
    /// Of the manifest's own shape.
    pub version: u32,
    /// Which log.
    pub log_id: Uuid,
    /// How its files are written.
    pub format: Format,
    /// Everything up to here stands in the steps before; [`Position::START`] for the first.
    pub after: Position,
    /// Everything up to here stands in this step or before.
    pub position: Position,
    /// Events in this step's files. Fewer than positions where other programs wrote streams of their own into the log.
    pub rows: u64,
    /// When the last event was recorded: RFC 3339, UTC, microseconds.
    pub time: String,
    /// Names the event at `position`: SHA-256 of its place and time.
    pub event: String,
    /// The head of the log's chain after that event, in hexadecimal; absent when the step ends within a batch of the log (it was stopped there), or
    /// before the log was chained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// SHA-256 of the manifest of the step before; absent in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Each once; in the order in which they were finished.
    pub files: Vec<FileEntry>,
}

/// One file of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// From the export's folder, with `/`.
    pub path: String,
    /// Full name of the one type of event in it; absent where all types stand in one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The `$id` of the JSON Schema of the data; absent where all types stand in one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_schema: Option<String>,
    /// Of its first event.
    pub first_position: Position,
    /// Of its last event.
    pub last_position: Position,
    /// Events in it.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

impl StepManifest {
    /// `00000000000000000001-00000000000000500000.json`: the positions that it tells of; sorted by name they are in order.
    pub(crate) fn name(&self) -> String {
        format!("{}.json", span(self.after.next(), self.position))
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest is plain data whose keys are text");
        bytes.push(b'\n');
        bytes
    }

    /// Reads one, and the digest by which the next one names it.
    pub(crate) fn read(path: &Path) -> Result<(Self, String), ExportError> {
        let bytes = fs::read(path).map_err(ExportError::file("read", path))?;
        let wrong = |what: String| ExportError::Manifest { path: path.to_owned(), what };
        let step: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if step.version != VERSION {
            return Err(wrong(format!("is of version {}, and this program knows {VERSION}", step.version)));
        }
        if path.file_name().is_none_or(|name| name != step.name().as_str()) {
            return Err(wrong(format!("tells of positions {} to {}, which its name does not", step.after.next(), step.position)));
        }
        Ok((step, digest(&bytes)))
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Positions as they stand in names of files.
pub(crate) fn span(first: Position, last: Position) -> String {
    format!("{first:020}-{last:020}")
}

/// The positions in a file's name.
pub(crate) fn parse_span(name: &str) -> Option<(Position, Position)> {
    let (first, last) = name.split_once('.')?.0.split_once('-')?;
    let number = |digits: &str| (digits.len() == 20).then(|| digits.parse().ok())?;
    Some((number(first)?, number(last)?))
}

/// What two histories that parted do not share: which stream, which of its events, and the microsecond of its recording.
pub(crate) fn name_of(event: &RecordedEvent) -> String {
    let (kind, id, time) = (&event.aggregate_type, &event.aggregate_id, event.recorded_at.as_microsecond());
    digest(format!("{}\n{kind}\n{id}\n{}\n{}\n{time}", event.position, event.sequence, event.event_type).as_bytes())
}
