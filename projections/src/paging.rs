//! Where a list goes on: an opaque token that holds the last key, bound to what was asked for.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::refusal::{PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID, QueryError};

/// The longest token that is looked at, in bytes: several times what we give out.
const MOST_BYTES: usize = 2_048;
/// Most rows of a page.
pub(crate) const MOST_ROWS: i32 = 1_000;

#[derive(Serialize, Deserialize)]
struct Token<Q, K> {
    /// The list and its filters: another list's token, or one with other filters, is refused.
    q: Q,
    /// The last row's key.
    k: K,
}

/// The token of a page that follows on `key`.
pub(crate) fn token<Q: Serialize, K: Serialize>(query: &Q, key: &K) -> String {
    URL_SAFE_NO_PAD.encode(crate::views::products::json(&Token { q: query, k: key }))
}

/// The key in a token; `None` for an empty one, which begins.
pub(crate) fn after<Q, K>(query: &Q, token: &str) -> Result<Option<K>, QueryError>
where
    Q: for<'de> Deserialize<'de> + PartialEq,
    K: for<'de> Deserialize<'de>,
{
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = if token.len() > MOST_BYTES { None } else { URL_SAFE_NO_PAD.decode(token).ok() };
    let read: Option<Token<serde_json::Value, serde_json::Value>> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let read = read.ok_or_else(not_ours)?;
    if !serde_json::from_value::<Q>(read.q).is_ok_and(|q| q == *query) {
        return Err(refused("belongs to another list, or to other filters: keep all fields but page_size and min_position as they were"));
    }
    if !is_findable(&read.k) {
        return Err(not_ours());
    }
    serde_json::from_value(read.k).map(Some).map_err(|_| not_ours())
}

/// Whether a key can be one of a row. Other writers may have named their streams as they liked, so a key need not be an id as we give them; but what no
/// text of the database can hold is none.
fn is_findable(key: &serde_json::Value) -> bool {
    match key {
        serde_json::Value::String(text) => !text.contains('\0'),
        serde_json::Value::Array(parts) => parts.iter().all(is_findable),
        _ => true,
    }
}

fn refused(what: &str) -> QueryError {
    QueryError::Field { field: "page_token", code: PAGE_TOKEN_INVALID, what: what.to_owned() }
}

/// The refusal of a token that no page gave, or whose key no row of the list can have.
pub(crate) fn not_ours() -> QueryError {
    refused("is not a token that a page of this list gave")
}

/// Rows of a page; 0 means `usual`.
pub(crate) fn size(asked: i32, usual: i32) -> Result<i32, QueryError> {
    match asked {
        0 => Ok(usual),
        1..=MOST_ROWS => Ok(asked),
        _ => Err(QueryError::Field { field: "page_size", code: PAGE_SIZE_INVALID, what: format!("must be 0 (for {usual}) or 1 to {MOST_ROWS}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_by_the_same_query_only() {
        let query = ("orders".to_owned(), "kim".to_owned());
        let given = token(&query, &17_u64);
        assert_eq!(after::<_, u64>(&query, &given).unwrap(), Some(17));
        assert_eq!(after::<_, u64>(&query, "").unwrap(), None);
        let other = ("orders".to_owned(), "lee".to_owned());
        for (query, token) in [(&other, given.as_str()), (&query, "x"), (&query, "%%%"), (&query, &given[1..]), (&query, &"A".repeat(5_000))] {
            let refusal = tonic::Status::from(after::<_, u64>(query, token).unwrap_err());
            assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
            assert_eq!(jari_proto::status::reason(&refusal).as_deref(), Some("PAGE_TOKEN_INVALID"));
        }
        assert!(after::<_, String>(&query, &given).is_err(), "a key of another kind");
    }

    #[test]
    fn a_key_that_no_text_of_the_database_can_hold_is_no_key() {
        let query = "products".to_owned();
        assert_eq!(after::<_, String>(&query, &token(&query, &"a b/가")).unwrap().as_deref(), Some("a b/가"), "another writer's");
        for refused in
            [after::<_, String>(&query, &token(&query, &"\0")).is_err(), after::<_, (i64, String)>(&query, &token(&query, &(1, "a\0"))).is_err()]
        {
            assert!(refused);
        }
    }

    #[test]
    fn a_page_has_one_to_a_thousand_rows() {
        assert_eq!((size(0, 50).unwrap(), size(1, 50).unwrap(), size(1_000, 50).unwrap()), (50, 1, 1_000));
        assert!(size(-1, 50).is_err() && size(1_001, 50).is_err());
    }
}
