//! Fixed values, sealed once under fixed keys: what logs hold must open for ever.

use jari_domain::{AnyEvent, Sealed, order::OrderEvent};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    MasterSource,
    key::{SealContext, SubjectKey, seal_bytes},
    master::bound_to,
    store::Subject,
};

const PLACE: SealContext<'_> = SealContext { aggregate_type: "Order", aggregate_id: "0193f1a2-order-7", field: "personal" };

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

/// The keys of persons stand in their database under these digests, and the list of erasures names persons by them.
#[test]
fn a_person_has_the_digest_under_which_the_key_was_put_away() {
    assert_eq!(Subject::of("customer-1").to_hex(), SUBJECT);
    let line = serde_json::to_string(&Subject::of("customer-1")).unwrap();
    assert_eq!(line, format!("\"{SUBJECT}\""), "as lists of erasures have it");
    assert_eq!(serde_json::from_str::<Subject>(&line).unwrap(), Subject::of("customer-1"));
}

const SUBJECT: &str = "58b7f87b33bdaa405901fc5bf51abf8b374f9e4bfd9fd302a4ee8eb1c2b04a7e";

/// A row of the database of the keys, as it was written once.
#[test]
fn a_key_that_was_wrapped_once_opens_under_its_master_key_for_ever() {
    let text = Zeroizing::new(MASTER.to_owned());
    let masters = MasterSource::Given(vec![text]).read().unwrap();
    assert_eq!(masters.present(), FINGERPRINT, "rows of the database name the master key by it");
    let subject = *Subject::of("customer-1").bytes();
    let today = seal_bytes(&[0x42; 32], [0x24; 24], &bound_to(key().id(), &subject), key().bytes());
    assert_eq!(today.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), WRAPPED, "a program of yesterday opens it, too");
    assert_eq!(masters.open(FINGERPRINT, key().id(), &subject, &today).unwrap().bytes(), key().bytes());
}

/// 32 bytes of 0x42.
const MASTER: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";
const FINGERPRINT: &str = "5d23e4b9b2237368";
const WRAPPED: &str = "242424242424242424242424242424242424242424242424a55fd5666a214aa1aa263531028503c522e09ca9680a628a3978fc56770dc5d26502b3585b1b188d676088f86d8f5790";
