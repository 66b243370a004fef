//! Each version of each event has a golden file, and a released one never changes: somebody's log holds it. Nor does a released contract: somebody
//! reads by it.

use crate::{
    breach::Breach,
    rust_file::RustFile,
    tree::{GOLDEN, Tree},
};

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let is_event_file = |file: &&RustFile| file.path.starts_with("domain/src/") && file.path.ends_with("/event.rs");
    let mut breaches: Vec<Breach> = tree.rust().iter().filter(is_event_file).flat_map(|file| variants(tree, file)).collect();
    breaches.extend(tree.changed_since_release().iter().map(|(path, what)| {
        if path.starts_with(GOLDEN) {
            let remedy = "put it back, raise the event's version, and lift the old one in `upcast`";
            Breach::new(path, 1, format!("a released golden file was {what}"), remedy)
        } else {
            let remedy = "put it back; what is published from now on stands in infra/contract/published/v1";
            Breach::new(path, 1, format!("a released contract was {what}"), remedy)
        }
    }));
    breaches
}

fn variants(tree: &Tree, file: &RustFile) -> Vec<Breach> {
    let events = file.enums().into_iter().filter(|(name, _)| name.ends_with("Event"));
    let mut breaches = Vec::new();
    for (event, variants) in events {
        let folder = format!("{GOLDEN}{}/", aggregate_type(tree, file).unwrap_or(event.trim_end_matches("Event")));
        for (variant, line) in variants {
            let golden = match version(file, variant) {
                Some(version) => format!("{folder}{variant}.{version}.json"),
                None => format!("{folder}{variant}.1.0.json"),
            };
            if tree.text(&golden).is_none() {
                let remedy = format!("write {golden} with an event of it as it is stored today");
                breaches.push(Breach::new(&file.path, line, format!("{event}::{variant} has no golden file"), remedy));
            }
        }
    }
    breaches
}

/// As stored: `const TYPE: &'static str = "..."` in a file of the same folder.
fn aggregate_type<'a>(tree: &'a Tree, event: &RustFile) -> Option<&'a str> {
    let folder = event.path.trim_end_matches("event.rs");
    let room = tree.rust().iter().filter(|file| file.path.strip_prefix(folder).is_some_and(|name| !name.contains('/')));
    let mut types = room.flat_map(|file| file.find(&["const", "TYPE"]).filter_map(|at| file.string_at(file.skip_to(at, &["=", ";"])? + 1)));
    types.next()
}

/// The version that is written today, from the table `event_format! { .. VARIANT "1.0", .. }`.
fn version<'a>(file: &'a RustFile, variant: &str) -> Option<&'a str> {
    let table = file.find(&["event_format", "!"]).next()?;
    let group = file.tokens().get(table + 2)?;
    (table..group.mate).find_map(|at| file.is_at(at, &[variant]).then(|| file.string_at(at + 1))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: (&str, &str) = (
        "domain/src/slot/event.rs",
        "pub enum SlotEvent {\n/// Opened.\nSlotOpened { counts: Counts, at: u8 },\n#[serde(default)]\nSlotClosed {},\n}\n\
        event_format! { SlotEvent, upcast: upcast, { SlotOpened \"1.0\", SlotClosed \"1.1\", }}",
    );
    const DECIDE: (&str, &str) = ("domain/src/slot/decide.rs", "impl Decider for InventorySlot { const TYPE: &'static str = \"InventorySlot\"; }");
    const OPENED: (&str, &str) = ("domain/golden/InventorySlot/SlotOpened.1.0.json", "{}");

    #[test]
    fn an_event_version_without_a_golden_file_is_found() {
        let old = ("domain/golden/InventorySlot/SlotClosed.1.0.json", "{}");
        let breaches = check(&Tree::of(&[EVENT, DECIDE, OPENED, old]));
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert_eq!(breaches[0].line, 5);
        assert!(breaches[0].remedy.contains("domain/golden/InventorySlot/SlotClosed.1.1.json"));

        let good = Tree::of(&[EVENT, DECIDE, OPENED, ("domain/golden/InventorySlot/SlotClosed.1.1.json", "{}")]);
        assert_eq!(check(&good), []);
        let changed = check(&good.with_change_since_release(OPENED.0, "changed since v0.1.0"));
        assert!(changed.len() == 1 && changed[0].remedy.contains("upcast"), "{changed:?}");
        let contract = Tree::of(&[]).with_change_since_release("infra/contract/published/v1.0/asyncapi.json", "changed since v0.1.0");
        let changed = check(&contract);
        assert!(changed.len() == 1 && changed[0].remedy.contains("published/v1"), "{changed:?}");
    }
}
