//! The contract's own rules, errors as they look in headers, and bad requests against a real server.

mod contract;
mod deadlines;
mod errors;
mod wire;
