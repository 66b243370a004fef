//! A view is one folder that says which events, which SQL and which test; and what it writes depends on events alone, so that it can be made again.

use std::collections::BTreeSet;

use crate::{breach::Breach, tree::Tree};

const VIEWS: &str = "projections/src/views/";

/// What every view's folder has, and what each is for.
const ROOMS: [(&str, &str); 3] = [
    ("mod.rs", "which events it reads, and what they change"),
    ("schema.sql", "its tables, as build.<table>"),
    ("tests.rs", "given events, then rows (`rows_after` in projections/src/tests/given.rs)"),
];

/// SQL that gives another value at another time: a row with it would not be the same in a rebuilt view.
const NOT_OF_THE_LOG: [&str; 13] = [
    "now(",
    "_timestamp",
    "current_date",
    "current_time",
    "current_user",
    "localtime",
    "timeofday(",
    "random(",
    "gen_random",
    "uuidv",
    "nextval(",
    "generated",
    "serial",
];

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let folders: BTreeSet<&str> = tree.texts().filter_map(|(path, _)| path.strip_prefix(VIEWS)?.split_once('/').map(|(folder, _)| folder)).collect();
    let list = tree.text(&format!("{VIEWS}mod.rs")).unwrap_or_default();
    let mut breaches = Vec::new();
    for view in folders {
        let main = format!("{VIEWS}{view}/mod.rs");
        for (room, what) in ROOMS {
            if tree.text(&format!("{VIEWS}{view}/{room}")).is_none() {
                breaches.push(Breach::new(&main, 1, format!("view {view} has no {room}"), format!("write it: {what}")));
            }
        }
        if !list.contains(&format!("&{view}::")) {
            let remedy = format!("add its line to VIEWS in {VIEWS}mod.rs, so that it is kept up with the log");
            breaches.push(Breach::new(&main, 1, format!("view {view} is not in VIEWS"), remedy));
        }
        if tree.text(&format!("{VIEWS}{view}/tests.rs")).is_some_and(|tests| !tests.contains("rows_after(")) {
            let remedy = "say with `rows_after` what rows follow from which events";
            breaches.push(Breach::new(&format!("{VIEWS}{view}/tests.rs"), 1, format!("view {view} tests no row"), remedy));
        }
    }
    breaches.extend(
        tree.texts().filter(|(path, _)| path.starts_with(VIEWS) && path.ends_with(".sql")).flat_map(|(path, text)| statement(tree, path, text)),
    );
    breaches
}

fn statement(tree: &Tree, path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let (folder, name) = path.rsplit_once('/').unwrap_or_default();
    let used =
        tree.texts().any(|(file, rust)| file.starts_with(folder) && file.ends_with(".rs") && rust.contains(&format!("include_str!(\"{name}\")")));
    if !used {
        breaches.push(Breach::new(path, 1, "no view says this statement", "delete it, or include it in the view's mod.rs"));
    }
    for (number, line) in text.lines().enumerate() {
        let said = line.split("--").next().unwrap_or_default().to_lowercase();
        if let Some(word) = NOT_OF_THE_LOG.iter().find(|word| said.contains(**word)) {
            let remedy = "take the value from the event, or judge it when it is asked for";
            breaches.push(Breach::new(path, number + 1, format!("`{word}` is not of the log"), remedy));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: (&str, &str) = ("projections/src/views/mod.rs", "pub static VIEWS: &[&dyn Projection] = &[&sales::Sales];");
    const VIEW: (&str, &str) =
        ("projections/src/views/sales/mod.rs", "fn schema() { include_str!(\"schema.sql\") } fn fold() { include_str!(\"sell.sql\") }");
    const SCHEMA: (&str, &str) = ("projections/src/views/sales/schema.sql", "-- as of now()\nCREATE TABLE build.sales (id text PRIMARY KEY);");
    const SELL: (&str, &str) = ("projections/src/views/sales/sell.sql", "INSERT INTO build.sales SELECT $1");
    const TESTS: (&str, &str) = ("projections/src/views/sales/tests.rs", "let rows = rows_after(\"sales\", vec![]).await;");

    fn wrong(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files))
            .into_iter()
            .map(|breach| format!("{}:{} {}", breach.path.trim_start_matches(VIEWS), breach.line, breach.wrong))
            .collect()
    }

    #[test]
    fn a_view_without_its_rooms_or_its_line_is_found() {
        assert_eq!(wrong(&[LIST, VIEW, SCHEMA, SELL, TESTS]), Vec::<String>::new());
        assert_eq!(wrong(&[LIST, VIEW, SCHEMA, SELL]), ["sales/mod.rs:1 view sales has no tests.rs"]);
        assert_eq!(wrong(&[("projections/src/views/mod.rs", ""), VIEW, SCHEMA, SELL, TESTS]), ["sales/mod.rs:1 view sales is not in VIEWS"]);
        let idle = ("projections/src/views/sales/tests.rs", "");
        assert_eq!(wrong(&[LIST, VIEW, SCHEMA, SELL, idle]), ["sales/tests.rs:1 view sales tests no row"]);
    }

    #[test]
    fn a_statement_with_a_clock_or_one_that_nobody_says_is_found() {
        let clock = ("projections/src/views/sales/sell.sql", "INSERT INTO build.sales\nSELECT $1, Now()");
        assert_eq!(wrong(&[LIST, VIEW, SCHEMA, clock, TESTS]), ["sales/sell.sql:2 `now(` is not of the log"]);
        let default = ("projections/src/views/sales/schema.sql", "CREATE TABLE build.sales (at timestamptz DEFAULT CURRENT_TIMESTAMP);");
        assert_eq!(wrong(&[LIST, VIEW, default, SELL, TESTS]), ["sales/schema.sql:1 `_timestamp` is not of the log"]);
        let lost = ("projections/src/views/sales/lost.sql", "SELECT 1");
        assert_eq!(wrong(&[LIST, VIEW, SCHEMA, SELL, lost, TESTS]), ["sales/lost.sql:1 no view says this statement"]);
    }
}
