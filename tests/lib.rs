//! Holds the integration tests in `tests/it`. Must never know anything itself: there is no code here.
