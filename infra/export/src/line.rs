//! JSON Lines: an event as a line, as `jari history log` prints it, in the order of the log.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use jari_contract::PublicMessage;
use jari_event_store::Position;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    error::{ExportError, Fault},
    file::{Finished, Unfinished},
    rows::Place,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    position: Position,
    time: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    stream_version: u64,
    id: &'a str,
    source: &'a str,
    data_schema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_parent: Option<&'a str>,
    data: &'a RawValue,
}

/// A file of lines that is being written.
pub(crate) struct Lines {
    writer: BufWriter<Unfinished>,
}

impl Lines {
    pub fn create(path: &Path) -> Result<Self, ExportError> {
        Ok(Self { writer: BufWriter::with_capacity(1 << 18, Unfinished::create(path).map_err(ExportError::file("create", path))?) })
    }

    pub fn take(&mut self, place: Place, message: &PublicMessage, path: &Path) -> Result<(), ExportError> {
        let unfit = |e: serde_json::Error| ExportError::Event { position: place.position, fault: Fault::Unfit(e.to_string()) };
        let told = &message.attributes;
        let line = Line {
            position: place.position,
            time: &told.time,
            r#type: told.event_type,
            subject: told.subject.as_deref(),
            stream_version: place.version,
            id: &told.id,
            source: &told.source,
            data_schema: told.data_schema,
            correlation_id: told.correlation_id.as_deref(),
            causation_id: told.causation_id.as_deref(),
            trace_parent: told.trace_parent.as_deref(),
            data: serde_json::from_slice(&message.data).map_err(unfit)?,
        };
        let mut text = serde_json::to_vec(&line).map_err(unfit)?;
        text.push(b'\n');
        self.writer.write_all(&text).map_err(ExportError::file("write", path))
    }

    pub fn finish(self, path: &Path) -> Result<Finished, ExportError> {
        let written = self.writer.into_inner().map_err(|e| e.into_error()).and_then(Unfinished::finish);
        written.map_err(ExportError::file("write", path))
    }
}
