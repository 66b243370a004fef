//! The JSON Schema of each public event, made of the type that is serialised.

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value;

use crate::catalogue::PublicType;

impl PublicType {
    /// Its JSON Schema (2020-12), whole: it refers to nothing outside of itself. Other properties are allowed, since new ones may come.
    #[must_use]
    pub fn schema(&self) -> Value {
        let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(RecursiveTransform(on_one_line));
        let mut schema = (self.schema)(settings.into_generator());
        schema.insert("$id".to_owned(), self.data_schema.into());
        schema.to_value()
    }
}

/// Descriptions are comments of the code, whose lines end where a line of code would.
fn on_one_line(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
