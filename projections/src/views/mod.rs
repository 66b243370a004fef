//! The views, one folder each. To add one: its folder, and a line in [`VIEWS`].

pub(crate) mod availability;
pub(crate) mod orders;
pub(crate) mod products;

use crate::projection::Projection;

/// Every view.
pub(crate) static VIEWS: &[&dyn Projection] = &[&products::Products, &availability::Availability, &orders::Orders];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_has_a_name_a_lease_and_tables_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for view in VIEWS {
            assert!(names.insert(view.name()), "two views are called {}", view.name());
            assert!(view.name().bytes().all(|b| b.is_ascii_lowercase()), "{} is part of tables' names", view.name());
            assert_eq!(view.lease(), format!("view/{}/{}", view.name(), view.version()), "raise the version in both");
            assert!(view.schema().contains("CREATE TABLE build."), "{} must create its tables as build.<table>", view.name());
            assert!(view.reads().iter().all(|kind| jari_domain::registry::AGGREGATE_TYPES.contains(kind)));
        }
    }
}
