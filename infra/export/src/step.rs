//! One step of an export: the files of some positions of the log, and their manifest at the end.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use jari_contract::{PublicMessage, PublicType, Publisher, Topic, public_events};
use jari_event_store::{Position, RecordedEvent};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use crate::{
    columns::{self, Field},
    error::{ExportError, Fault},
    file::Finished,
    folder::{Folder, Last},
    line::Lines,
    manifest::{FileEntry, Format, StepManifest, VERSION, digest, name_of, span},
    table::Table,
};

/// Bytes of rows in memory, of all tables of a day together; the largest is written when there are more.
const WAITING_BYTES: usize = 64 << 20;

/// What a type of event is called, and the columns of its data.
type Known = BTreeMap<&'static str, (&'static PublicType, Arc<[Field]>)>;

/// A step that is being made.
pub(crate) struct Step {
    folder: Arc<Folder>,
    publisher: Publisher,
    log_id: Uuid,
    format: Format,
    after: Position,
    previous: Option<String>,
    /// The last event that was looked at: its position, time and name.
    last: Option<(Position, Timestamp, String)>,
    day: Date,
    /// By type; all under "" where they stand in one file.
    open: BTreeMap<&'static str, Open>,
    done: Vec<(PathBuf, FileEntry)>,
    /// Files so far, for names that are not taken.
    files: usize,
    pub rows: u64,
}

/// A file that is being written.
struct Open {
    path: PathBuf,
    of: Option<&'static PublicType>,
    first: Position,
    last: Position,
    rows: u64,
    writing: Writing,
}

enum Writing {
    Table(Box<Table>),
    Lines(Lines),
}

impl Step {
    pub fn after(folder: Arc<Folder>, log_id: Uuid, format: Format, last: Last) -> Self {
        Self {
            folder,
            publisher: Publisher::new(log_id),
            log_id,
            format,
            after: last.as_ref().map_or(Position::START, |(step, _)| step.position),
            previous: last.map(|(_, digest)| digest),
            last: None,
            day: Date::ZERO,
            open: BTreeMap::new(),
            done: Vec::new(),
            files: 0,
            rows: 0,
        }
    }

    /// Everything up to here has been taken.
    pub fn position(&self) -> Position {
        self.last.as_ref().map_or(self.after, |(position, ..)| *position)
    }

    /// When the last event was recorded.
    pub fn time(&self) -> Option<Timestamp> {
        self.last.as_ref().map(|(_, time, _)| *time)
    }

    /// Positions that were taken.
    pub fn len(&self) -> u64 {
        self.position().since(self.after)
    }

    /// Takes the next event of the log.
    pub fn take(&mut self, event: &RecordedEvent) -> Result<(), ExportError> {
        let position = event.position;
        let told = self.publisher.publish(event).map_err(|error| ExportError::Event { position, fault: Fault::Untellable(error) })?;
        let day = TimeZone::UTC.to_datetime(event.recorded_at).date();
        if day != self.day {
            // times never fall: nothing more comes of the day before
            self.close()?;
            self.day = day;
        }
        // what is told beside an event repeats what it says
        for message in told.iter().filter(|message| message.topic != Topic::Availability) {
            self.write(event, message)?;
        }
        self.last = Some((position, event.recorded_at, String::new()));
        Ok(())
    }

    /// Remembers which event the last one was. Once a page, since only the last of a step is told.
    pub fn mark(&mut self, event: &RecordedEvent) {
        if let Some(last) = self.last.as_mut().filter(|(position, ..)| *position == event.position) {
            last.2 = name_of(event);
        }
    }

    fn write(&mut self, event: &RecordedEvent, message: &PublicMessage) -> Result<(), ExportError> {
        let key = if self.format == Format::Parquet { message.attributes.event_type } else { "" };
        if !self.open.contains_key(key) {
            let opened = self.create(key, event.position)?;
            self.open.insert(key, opened);
        }
        let Some(open) = self.open.get_mut(key) else { return Err(ExportError::Broken(format!("{key} was not opened"))) };
        match &mut open.writing {
            Writing::Table(table) => table.take(event.into(), message, &open.path)?,
            Writing::Lines(lines) => lines.take(event.into(), message, &open.path)?,
        }
        open.last = event.position;
        open.rows += 1;
        self.rows += 1;
        self.bound()
    }

    fn create(&mut self, key: &str, first: Position) -> Result<Open, ExportError> {
        self.files += 1;
        let path = self.folder.unfinished(&self.files.to_string());
        let (of, writing) = match self.format {
            Format::Jsonl => (None, Writing::Lines(Lines::create(&path)?)),
            Format::Parquet => {
                let (of, fields) = known()?.get(key).ok_or_else(|| ExportError::Broken(format!("{key} is no public type")))?;
                let source = self.log_id.urn().to_string();
                (Some(*of), Writing::Table(Box::new(Table::create(&path, of, fields.clone(), &source)?)))
            }
        };
        Ok(Open { path, of, first, last: first, rows: 0, writing })
    }

    /// Keeps the rows in memory below their bound.
    fn bound(&mut self) -> Result<(), ExportError> {
        let waiting = |open: &Open| if let Writing::Table(table) = &open.writing { table.waiting() } else { 0 };
        // a table writes by itself what is more than its share: only many large ones come so far
        if self.open.len() > 3 && self.open.values().map(waiting).sum::<usize>() > WAITING_BYTES {
            let largest = self.open.values_mut().max_by_key(|open| waiting(open));
            if let Some(Open { path, writing: Writing::Table(table), .. }) = largest {
                table.write_group(path)?;
            }
        }
        Ok(())
    }

    /// Finishes the files of the day.
    fn close(&mut self) -> Result<(), ExportError> {
        for (key, open) in std::mem::take(&mut self.open) {
            let Finished { path, bytes, sha256 } = match open.writing {
                Writing::Table(table) => table.finish(&open.path)?,
                Writing::Lines(lines) => lines.finish(&open.path)?,
            };
            let span = span(open.first, open.last);
            let name = if key.is_empty() { format!("day={}/{span}.jsonl", self.day) } else { format!("day={}/type={key}/{span}.parquet", self.day) };
            let entry = FileEntry {
                path: name,
                r#type: open.of.map(|of| of.event_type.to_owned()),
                data_schema: open.of.map(|of| of.data_schema.to_owned()),
                first_position: open.first,
                last_position: open.last,
                rows: open.rows,
                bytes,
                sha256,
            };
            self.done.push((path, entry));
        }
        Ok(())
    }

    /// Puts everything in its place; `head` is that of the log's chain after the last event.
    pub fn keep(mut self, head: Option<String>) -> Result<Last, ExportError> {
        self.close()?;
        let Some((position, time, event)) = self.last else { return Err(ExportError::Broken("a step without an event".into())) };
        let (paths, files): (Vec<PathBuf>, Vec<FileEntry>) = self.done.into_iter().unzip();
        let step = StepManifest {
            version: VERSION,
            log_id: self.log_id,
            format: self.format,
            after: self.after,
            position,
            rows: self.rows,
            time: format!("{time:.6}"),
            event,
            head,
            previous: self.previous,
            files,
        };
        let moves: Vec<(PathBuf, String)> = paths.into_iter().zip(step.files.iter().map(|file| file.path.clone())).collect();
        self.folder.keep(&moves, &step)?;
        let digest = digest(&step.to_bytes());
        Ok(Some((step, digest)))
    }
}

/// Every public type with its columns; made once a process.
fn known() -> Result<&'static Known, ExportError> {
    static KNOWN: OnceLock<Result<Known, String>> = OnceLock::new();
    let made = KNOWN.get_or_init(|| public_events().map(|of| Ok((of.event_type, (of, columns::of_data(of)?.into())))).collect());
    made.as_ref().map_err(|what| ExportError::Broken(what.clone()))
}
