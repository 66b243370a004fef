//! What is personal in an order.

use jari_domain::{
    Decider, Sealed,
    order::{Order, PERSONAL},
};
use jari_proto::order::v1::{PersonalData, PersonalDataState};
use jari_sealing::{Opened, SealContext, Sealer};
use prost::Message;

/// Where it stands, which its seal is bound to: what was sealed for one order opens for no other.
#[must_use]
pub fn context(order_id: &str) -> SealContext<'_> {
    SealContext { aggregate_type: Order::TYPE, aggregate_id: order_id, field: PERSONAL }
}

/// What an answer says: the data, or why there is none.
pub async fn open(sealer: &Sealer, order_id: &str, sealed: &Sealed) -> PersonalData {
    let only = |state: PersonalDataState| PersonalData { state: state.into(), ..PersonalData::default() };
    match sealer.open(&context(order_id), sealed).await {
        Opened::Readable(clear) => match PersonalData::decode(clear.as_slice()) {
            Ok(data) => PersonalData { state: PersonalDataState::Readable.into(), ..data },
            Err(_) => only(PersonalDataState::Unavailable),
        },
        Opened::Erased => only(PersonalDataState::Erased),
        Opened::Unavailable => only(PersonalDataState::Unavailable),
    }
}
