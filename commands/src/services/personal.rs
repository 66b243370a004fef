//! Contact and names of guests: checked, and sealed before anything else sees them.

use std::collections::BTreeMap;

use jari_domain::{
    Sealed,
    ids::{CustomerRef, OrderId},
    text::{PLAIN, is_plain},
};
use jari_proto::order::v1 as pb;
use jari_sealing::{MAX_CLEAR_BYTES, Sealer, Subject};
use jari_wire::personal::context;
use prost::Message;
use tonic::Status;

use super::wire::{self, Violations};
use crate::engine::Mark;

/// Most guests that an order names.
const MAX_GUESTS: usize = 500;
/// Bounds in characters.
const MAX_NAME: usize = 100;
const MAX_EMAIL: usize = 254;
const PHONE: std::ops::RangeInclusive<usize> = 3..=32;

/// What the request says of persons, taken out of it: what is left may be digested and shown.
pub(super) fn take(request: &mut pb::PlaceOrderRequest) -> Option<pb::PersonalData> {
    let (contact, guests) = (request.contact.take(), std::mem::take(&mut request.guests));
    (contact.is_some() || !guests.is_empty()).then_some(pb::PersonalData { state: 0, contact, guests })
}

/// Names every field that cannot be used, and never says what stood in it.
pub(super) fn check(data: &pb::PersonalData, lines: &[pb::LineRequest], violations: &mut Violations) {
    if let Some(contact) = &data.contact {
        check_contact(contact, violations);
    }
    if data.guests.len() > MAX_GUESTS {
        violations.add("guests", format!("an order names at most {MAX_GUESTS} guests, not {}", data.guests.len()));
        return;
    }
    let mut named = BTreeMap::<(i32, &str), i32>::new();
    for (n, guest) in data.guests.iter().enumerate() {
        if !is_worded(&guest.name, 1, MAX_NAME) {
            violations.add(format!("guests[{n}].name"), format!("must be 1 to {MAX_NAME} characters, not only blanks, {PLAIN}"));
        }
        let Some(line) = usize::try_from(guest.line).ok().and_then(|line| lines.get(line)) else {
            violations.add(format!("guests[{n}].line"), "is no line of this order");
            continue;
        };
        let of_the_unit = || line.units.iter().filter(|unit| unit.unit_id == guest.unit_id);
        if of_the_unit().next().is_none() {
            violations.add(format!("guests[{n}].unit_id"), "is no unit of this line");
            continue;
        }
        let count = named.entry((guest.line, guest.unit_id.as_str())).or_default();
        *count += 1;
        // a unit that stands in the line twice is summed
        if *count > of_the_unit().map(|unit| unit.quantity).fold(0, i32::saturating_add) {
            violations.add(format!("guests[{n}]"), "more guests are named than the line has of this unit");
        }
    }
    if data.encoded_len() > MAX_CLEAR_BYTES {
        violations.add("guests", format!("the names are more than {MAX_CLEAR_BYTES} bytes together"));
    }
}

fn check_contact(contact: &pb::Contact, violations: &mut Violations) {
    let pb::Contact { name, email, phone } = contact;
    if name.is_empty() && email.is_empty() && phone.is_empty() {
        violations.add("contact", "has none of name, email and phone; leave it out");
    }
    if !is_worded(name, 0, MAX_NAME) {
        violations.add("contact.name", format!("must be at most {MAX_NAME} characters, not only blanks, {PLAIN}"));
    }
    let is_address = || email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if !email.is_empty() && (!is_plain(email, 3, MAX_EMAIL) || email.contains(char::is_whitespace) || !is_address()) {
        violations.add("contact.email", format!("must be at most {MAX_EMAIL} characters with one @ in the middle, and no spaces"));
    }
    let is_dialled = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '+' | '-' | '(' | ')' | '.');
    let digits = phone.chars().filter(char::is_ascii_digit).count();
    if !phone.is_empty() && (!PHONE.contains(&phone.len()) || !phone.chars().all(is_dialled) || digits < *PHONE.start()) {
        violations.add("contact.phone", "must be 3 to 32 characters: digits, at least 3, spaces and + - ( ) . only");
    }
}

/// Plain text that is not of blanks alone.
fn is_worded(text: &str, least: usize, most: usize) -> bool {
    let is_blank = !text.is_empty() && text.chars().all(char::is_whitespace);
    is_plain(text, least, most) && !is_blank
}

/// Sealed for this order under the customer's key, and the mark that stands for it in the command's digest.
pub(super) async fn seal(sealer: &Sealer, customer: &CustomerRef, order_id: &OrderId, data: &pb::PersonalData) -> Result<(Sealed, Mark), Status> {
    let sealed = sealer.seal(&Subject::of(customer.as_str()), &context(order_id.as_str()), &data.encode_to_vec()).await;
    sealed.map_err(|error| wire::unsealed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_text_and_more_than_blanks() {
        for (name, is_taken) in [("Kim Minji", true), ("דנה לוי", true), ("", true), ("  ", false), ("a\nb", false), ("a\u{202e}b", false)] {
            let mut violations = Violations::default();
            check_contact(&pb::Contact { name: name.into(), phone: "02-123".into(), ..pb::Contact::default() }, &mut violations);
            assert_eq!(violations.check().is_ok(), is_taken, "{name:?}");
        }
    }

    #[test]
    fn guests_are_counted_against_the_sum_of_a_unit_that_stands_in_a_line_twice() {
        let adult = |quantity| pb::UnitQuantity { unit_id: "adult".into(), quantity };
        let lines = [pb::LineRequest { units: vec![adult(1), adult(1)], ..pb::LineRequest::default() }];
        let guest = pb::Guest { line: 0, unit_id: "adult".into(), name: "Ann".into() };
        for (guests, is_taken) in [(2, true), (3, false)] {
            let mut violations = Violations::default();
            check(&pb::PersonalData { guests: vec![guest.clone(); guests], ..pb::PersonalData::default() }, &lines, &mut violations);
            assert_eq!(violations.check().is_ok(), is_taken, "{guests} guests");
        }
    }
}
