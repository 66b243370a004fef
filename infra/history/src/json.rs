//! Messages as proto3 JSON, by the descriptors of the contract.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(jari_proto::FILE_DESCRIPTOR_SET).expect("the contract's descriptors were made by its own build"));

/// The canonical JSON of a message of the contract, zeros and empty lists included, as public events have it.
///
/// # Panics
/// When `name` is not the full name of `message`: a mistake of the caller's code, not of data.
#[must_use]
pub fn json(name: &str, message: &impl Message) -> Value {
    let descriptor = POOL.get_message_by_name(name).expect("callers name messages of the contract");
    let read = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).expect("a message is read by its own descriptor");
    read.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new().skip_default_fields(false))
        .expect("times of ours lie within the calendar, and nothing else can fail to become JSON")
}
