//! Fixed values, sealed once under fixed keys: what logs hold must open for ever.

use jari_domain::{AnyEvent, Sealed, order::OrderEvent};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::key::{Place, SubjectKey};

const PLACE: Place<'_> = Place { aggregate_type: "Order", aggregate_id: "0193f1a2-order-7", field: "personal" };

fn key() -> SubjectKey {
    let bytes: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
    SubjectKey::new(Uuid::from_u128(0x0b7e_4f0d_6d2c_4a51_9a3c_5d1f_2e8b_7c60), Zeroizing::new(bytes))
}

#[test]
fn the_value_in_the_golden_file_is_what_is_sealed_today_and_opens() {
    let sealed = key().seal_with([0x24; 24], &PLACE, b"a contact and two guests").unwrap();
    let golden = include_str!("../../../domain/golden/Order/OrderPlaced.1.1.json");
    let AnyEvent::Order(OrderEvent::OrderPlaced { personal: Some(stored), .. }) = AnyEvent::decode("Order", "OrderPlaced", "1.1", golden).unwrap()
    else {
        panic!("{golden}")
    };
    assert_eq!(stored, sealed, "logs hold values of this form: a new one needs a new prefix beside it");
    assert_eq!(*key().open(&PLACE, &stored).unwrap(), b"a contact and two guests");
    assert_eq!(key().mark(&PLACE, b"a contact and two guests"), MARK, "digests of the last days hold marks of this form");
}

/// In digests of commands, which are compared with new ones for as long as ids are remembered.
const MARK: [u8; 8] = [71, 19, 119, 204, 195, 221, 6, 215];

#[test]
fn a_value_of_another_form_is_not_taken_for_one() {
    for text in ["sealed:v1:nokey:AAAA", "sealed:v1:0b7e4f0d6d2c4a519a3c5d1f2e8b7c60:AA", "sealed:v1:0b7e4f0d6d2c4a519a3c5d1f2e8b7c60:A"] {
        assert!(key().open(&PLACE, &Sealed::parse(text).unwrap()).is_err(), "{text}");
    }
}
