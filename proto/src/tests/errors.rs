//! Errors as a client reads them.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::status::{DOMAIN, MAX_MESSAGE_BYTES, invalid, reason, refusal_status, retry_after};

/// What arrives after the way through headers.
fn received(sent: &Status) -> (Status, usize) {
    let mut headers = HeaderMap::new();
    sent.add_header(&mut headers).unwrap();
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (Status::from_header_map(&headers).unwrap(), bytes)
}

#[test]
fn a_refusal_arrives_with_code_facts_and_delay() {
    let facts = BTreeMap::from([("available".to_owned(), "0".to_owned()), ("자리".to_owned(), "가".to_owned())]);
    let (status, _) =
        received(&refusal_status("SLOT_SOLD_OUT", Code::ResourceExhausted, "nothing is left", facts.clone(), Some(Duration::from_millis(250))));
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "nothing is left"));
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SLOT_SOLD_OUT", DOMAIN));
    assert_eq!(BTreeMap::from_iter(info.metadata), facts);
    assert_eq!(reason(&status).as_deref(), Some("SLOT_SOLD_OUT"));
    assert_eq!(retry_after(&status), Some(Duration::from_millis(250)));
}

#[test]
fn a_refusal_without_a_delay_promises_no_retry() {
    let status = refusal_status("ORDER_NOT_FOUND", Code::NotFound, "no such order", BTreeMap::new(), None);
    assert_eq!(retry_after(&received(&status).0), None);
}

#[test]
fn an_error_of_somebody_else_has_no_reason_of_ours() {
    assert_eq!(reason(&Status::internal("the transport broke")), None);
    let foreign = tonic_types::ErrorDetails::with_error_info("QUOTA", "example.com", std::collections::HashMap::new());
    assert_eq!(reason(&Status::with_error_details(Code::Internal, "", foreign)), None);
}

#[test]
fn bad_input_names_every_field_that_is_wrong() {
    let (status, _) = received(&invalid(vec![("lines[0].units[1].quantity", "must be 1 to 10,000"), ("customer", "is required")], "REQUEST_INVALID"));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "lines[0].units[1].quantity: must be 1 to 10,000 (and 1 more)");
    assert_eq!(reason(&status).as_deref(), Some("REQUEST_INVALID"));
    let fields: Vec<_> = status.get_details_bad_request().unwrap().field_violations.into_iter().map(|v| (v.field, v.description)).collect();
    assert_eq!(fields[0], ("lines[0].units[1].quantity".to_owned(), "must be 1 to 10,000".to_owned()));
    assert_eq!(fields[1], ("customer".to_owned(), "is required".to_owned()));
}

#[test]
fn bad_input_without_a_field_is_still_bad_input() {
    let (status, _) = received(&invalid(Vec::<(String, String)>::new(), "REQUEST_INVALID"));
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "the request is not valid"));
}

#[test]
fn the_longest_complaint_fits_into_eight_kibibytes_of_headers() {
    let long = "자리가 없다".repeat(1_000);
    let violations = (0..10_000).map(|line| (format!("lines[{line}].{long}"), long.clone())).collect();
    let (status, bytes) = received(&invalid(violations, "REQUEST_INVALID"));
    assert!(bytes < 8_192, "{bytes} bytes");
    let told = status.get_details_bad_request().unwrap().field_violations.len();
    assert_eq!(status.get_details_error_info().unwrap().metadata["violations_left_off"], (10_000 - told).to_string());

    let facts = (0..10_000).map(|n| (format!("{n:05}{long}"), long.clone())).collect();
    let (status, bytes) = received(&refusal_status("SLOT_SOLD_OUT", Code::ResourceExhausted, &long, facts, None));
    assert!(bytes < 8_192, "{bytes} bytes");
    assert!(status.message().len() <= MAX_MESSAGE_BYTES && status.message().ends_with('…'));
    assert!(!status.get_details_error_info().unwrap().metadata.is_empty());
}
