//! One Parquet file: the events of one type on one day.

use std::{io, path::Path, sync::Arc};

use jari_contract::{PublicMessage, PublicType};
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    data_type::{BoolType, ByteArrayType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::ColumnPath,
};
use serde_json::Value;

use crate::{
    columns::{self, Field},
    error::{ExportError, Fault},
    file::{Finished, Unfinished},
    rows::{Column, Place, Rows, Values},
};

/// Rows of a group. A reader that wants a few positions reads the groups that hold them, so they are not larger than is good for compression.
const GROUP_ROWS: usize = 100_000;
/// Bytes of rows in memory at which a group is written before it has so many.
const GROUP_BYTES: usize = 16 << 20;

/// A table that is being written.
pub(crate) struct Table {
    fields: Arc<[Field]>,
    rows: Rows,
    writer: SerializedFileWriter<Unfinished>,
}

impl Table {
    pub fn create(path: &Path, of: &PublicType, fields: Arc<[Field]>, source: &str) -> Result<Self, ExportError> {
        let about = [("jari.source", source), ("jari.type", of.event_type), ("jari.data_schema", of.data_schema)];
        let position = ColumnPath::from("position");
        let properties = WriterProperties::builder()
            .set_created_by(format!("jari {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_column_dictionary_enabled(position.clone(), false)
            .set_column_encoding(position, Encoding::DELTA_BINARY_PACKED)
            .set_sorting_columns(Some(vec![SortingColumn { column_idx: 0, descending: false, nulls_first: false }]))
            .set_key_value_metadata(Some(about.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec()))
            .build();
        let file = Unfinished::create(path).map_err(ExportError::file("create", path))?;
        let schema = columns::parquet(&fields).map_err(at(path))?;
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(at(path))?;
        Ok(Self { rows: Rows::new(&fields), fields, writer })
    }

    /// Bytes of rows that wait in memory.
    pub fn waiting(&self) -> usize {
        self.rows.bytes
    }

    pub fn take(&mut self, place: Place, message: &PublicMessage, path: &Path) -> Result<(), ExportError> {
        let unfit = |what: String| ExportError::Event { position: place.position, fault: Fault::Unfit(what) };
        let data: Value = serde_json::from_slice(&message.data).map_err(|e| unfit(e.to_string()))?;
        self.rows.take(place, &message.attributes, &self.fields, &data).map_err(unfit)?;
        if self.rows.count >= GROUP_ROWS || self.rows.bytes >= GROUP_BYTES { self.write_group(path) } else { Ok(()) }
    }

    /// Writes the rows that wait.
    pub fn write_group(&mut self, path: &Path) -> Result<(), ExportError> {
        if self.rows.count == 0 {
            return Ok(());
        }
        let rows = std::mem::replace(&mut self.rows, Rows::new(&self.fields));
        let mut group = self.writer.next_row_group().map_err(at(path))?;
        for column in &rows.columns {
            write(&mut group, column).map_err(at(path))?;
        }
        group.close().map_err(at(path))?;
        Ok(())
    }

    pub fn finish(mut self, path: &Path) -> Result<Finished, ExportError> {
        self.write_group(path)?;
        let file = self.writer.into_inner().map_err(at(path))?;
        file.finish().map_err(ExportError::file("write", path))
    }
}

fn write(group: &mut SerializedRowGroupWriter<'_, Unfinished>, column: &Column) -> Result<(), ParquetError> {
    let mut writer = group.next_column()?.expect("the rows have as many columns as the schema that was made of the same fields");
    let (defined, repeated) = (Some(&column.defined[..]), Some(&column.repeated[..]));
    match &column.values {
        Values::Int32(values) => writer.typed::<Int32Type>().write_batch(values, defined, repeated)?,
        Values::Int64(values) => writer.typed::<Int64Type>().write_batch(values, defined, repeated)?,
        Values::Text(values) => writer.typed::<ByteArrayType>().write_batch(values, defined, repeated)?,
        Values::Flag(values) => writer.typed::<BoolType>().write_batch(values, defined, repeated)?,
    };
    writer.close()
}

/// The library wraps what the disk says.
fn at(path: &Path) -> impl Fn(ParquetError) -> ExportError {
    let path = path.to_owned();
    move |error| ExportError::File { doing: "write", path: path.clone(), source: io::Error::other(error) }
}
