//! Putting one table of settings over another, and naming what does not belong.

use toml::{Table, Value};

use super::layers::PREFIX;

/// How many letters may differ for a key to be offered instead: a third of it, at most three.
fn is_near(distance: usize, key: &str) -> bool {
    distance <= (key.len() / 3).clamp(1, 3)
}

/// A key that nobody knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownKey {
    /// With its section.
    pub key: String,
    /// Known and written like it.
    pub nearest: Option<String>,
}

/// Every key of `known`, with its section.
fn keys(known: &Table) -> impl Iterator<Item = String> {
    known.iter().flat_map(|(section, inside)| inside.as_table().into_iter().flatten().map(move |(key, _)| format!("{section}.{key}")))
}

/// The key that is meant by a variable's name with one line between section and key, where two belong; without one it would be passed over.
pub(super) fn run_together(known: &Table, name: &str) -> Option<UnknownKey> {
    let key = keys(known).find(|key| key.replace('.', "_") == name)?;
    Some(UnknownKey { key: name.to_owned(), nearest: Some(format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())) })
}

fn unknown(known: &Table, key: String) -> UnknownKey {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |of: &String| strsim::damerau_levenshtein(of, &key).min(strsim::damerau_levenshtein(&last(of), &last(&key)));
    let sections = known.keys().filter(|_| !key.contains('.')).cloned();
    // of two that are as near, the one of the same section
    let whole = |of: &String| (distance(of), strsim::damerau_levenshtein(of, &key));
    let nearest = keys(known).chain(sections).min_by_key(whole).filter(|near| is_near(distance(near), &key));
    UnknownKey { key, nearest }
}

/// Puts `over` on top of `base`, which has every key that there is.
pub(super) fn lay_over(base: &mut Table, over: Table) -> Result<(), UnknownKey> {
    for (section, inside) in over {
        match (base.get_mut(&section), inside) {
            (Some(Value::Table(known)), Value::Table(inside)) => {
                for (key, value) in inside {
                    if !known.contains_key(&key) {
                        return Err(unknown(base, format!("{section}.{key}")));
                    }
                    known.insert(key, value);
                }
            }
            (Some(_), _) => return Err(UnknownKey { key: section, nearest: None }),
            (None, _) => return Err(unknown(base, section)),
        }
    }
    Ok(())
}

/// Sets `section.key` from a text, read as the type that it has in `defaults`: what a file put there may be of a wrong one.
pub(super) fn set(base: &mut Table, defaults: &Table, section: &str, key: &str, text: &str) -> Result<(), UnknownKey> {
    let Some(value) = base.get_mut(section).and_then(Value::as_table_mut).and_then(|inside| inside.get_mut(key)) else {
        return Err(unknown(base, format!("{section}.{key}")));
    };
    let read = match defaults.get(section).and_then(|inside| inside.get(key)) {
        Some(Value::Integer(_)) => text.replace('_', "").parse().ok().map(Value::Integer),
        Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
        _ => None,
    };
    // What cannot be read stays text: whoever reads the whole says what was expected.
    *value = read.unwrap_or_else(|| Value::String(text.to_owned()));
    Ok(())
}
