//! Parses the columns of a change as Rust values.

use std::collections::HashMap;

/// A column from which keys or tags are made.
///
/// A plain name is recorded as text. Name a binary column by [`Column::bytes`].
///
/// # Examples
/// ```
/// use larder_sqlx::Column;
/// let columns = [Column::from("shop"), Column::bytes("digest")];
/// # let _ = columns;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub(crate) name: String,
    pub(crate) binary: bool,
}

impl Column {
    /// Returns a column of bytes (`bytea`, `BLOB`, `BINARY`), for values of type `Vec<u8>`.
    ///
    /// # Examples
    /// See [`Column`].
    pub fn bytes(name: impl Into<String>) -> Self {
        Self { name: name.into(), binary: true }
    }
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), binary: false }
    }
}

impl From<String> for Column {
    fn from(name: String) -> Self {
        Self { name, binary: false }
    }
}

/// A row before or after a change: the texts of the watched columns.
pub(crate) type Image = HashMap<String, Option<String>>;

/// The reason why a change cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(crate) String);

/// A type that can be parsed from a column's text.
///
/// Implemented for integers, `bool`, `String`, `Vec<u8>` (of [`Column::bytes`]), `Uuid` (feature `uuid`), and
/// `Option` of them for columns that may be NULL.
///
/// # Examples
/// ```
/// use larder_sqlx::ColumnValue;
/// assert_eq!(i64::from_text("-7"), Some(-7));
/// assert_eq!(Vec::<u8>::from_text("01FF"), Some(vec![1, 255]));
/// assert_eq!(bool::from_text("maybe"), None);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a column's text",
    note = "integers, `bool`, `String`, `Vec<u8>` and `Option`s of them can; implement `ColumnValue` for other types"
)]
pub trait ColumnValue: Sized {
    /// Parses the text of a value, as the database writes it (PostgreSQL in UTC and ISO form). `None` if it is
    /// invalid.
    fn from_text(text: &str) -> Option<Self>;

    /// Returns the value of NULL. `None` if there is none.
    fn from_null() -> Option<Self> {
        None
    }
}

macro_rules! parsed {
    ($($value:ty)*) => {$(
        impl ColumnValue for $value {
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
parsed!(i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 usize String);
#[cfg(feature = "uuid")]
parsed!(uuid::Uuid);

impl ColumnValue for bool {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "true" | "t" | "1" => Some(true),
            "false" | "f" | "0" => Some(false),
            _ => None,
        }
    }
}

impl ColumnValue for Vec<u8> {
    fn from_text(text: &str) -> Option<Self> {
        let digits = text.as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    }
}

impl<T: ColumnValue> ColumnValue for Option<T> {
    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn from_null() -> Option<Self> {
        Some(None)
    }
}

/// The values of columns, in their order: a [`ColumnValue`], or a tuple of up to eight. Never implemented by hand.
///
/// # Examples
/// See [`Watched`](crate::Watched).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from the columns of a change",
    note = "a closure over one column takes a `ColumnValue`, over several a tuple of them: `|(shop, id): (String, i64)| ..`"
)]
pub trait FromColumns: Sized {
    /// The number of columns.
    const COLUMNS: usize;

    /// Returns the values. `Ok(None)` if one is NULL that may not be.
    #[doc(hidden)]
    fn from_columns(columns: &[Column], image: &Image) -> Result<Option<Self>, Unreadable>;
}

impl<T: ColumnValue> FromColumns for T {
    const COLUMNS: usize = 1;

    fn from_columns(columns: &[Column], image: &Image) -> Result<Option<Self>, Unreadable> {
        one(columns, 0, image)
    }
}

fn one<T: ColumnValue>(columns: &[Column], at: usize, image: &Image) -> Result<Option<T>, Unreadable> {
    let name = columns.get(at).map_or("", |column| column.name.as_str());
    match image.get(name) {
        None => {
            Err(Unreadable(format!("the column {name:?} was not written down: install the triggers anew")))
        }
        Some(None) => Ok(T::from_null()),
        Some(Some(text)) => match T::from_text(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Unreadable(format!(
                "{text:?} in the column {name:?} is no {}",
                std::any::type_name::<T>()
            ))),
        },
    }
}

macro_rules! tuples {
    ($($value:ident $at:tt),+; $count:literal) => {
        impl<$($value: ColumnValue),+> FromColumns for ($($value,)+) {
            const COLUMNS: usize = $count;

            fn from_columns(columns: &[Column], image: &Image) -> Result<Option<Self>, Unreadable> {
                Ok(Some(($(
                    match one::<$value>(columns, $at, image)? {
                        Some(value) => value,
                        None => return Ok(None),
                    },
                )+)))
            }
        }
    };
}
tuples!(A 0; 1);
tuples!(A 0, B 1; 2);
tuples!(A 0, B 1, C 2; 3);
tuples!(A 0, B 1, C 2, D 3; 4);
tuples!(A 0, B 1, C 2, D 3, E 4; 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5; 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6; 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7; 8);

/// Parses the image in a row of the outbox.
pub(crate) fn image(json: &str) -> Result<Image, Unreadable> {
    serde_json::from_str(json).map_err(|error| Unreadable(format!("{json:?} is no image of a row: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_name_and_null_is_told_apart() {
        let image = image(r#"{"id":"7","shop":"ä \"b\"","hash":"01ff","none":null,"flag":"t"}"#).unwrap();
        let columns = |names: &[&str]| names.iter().map(|name| Column::from(*name)).collect::<Vec<_>>();
        assert_eq!(i64::from_columns(&columns(&["id"]), &image), Ok(Some(7)));
        let both = <(String, u8)>::from_columns(&columns(&["shop", "id"]), &image);
        assert_eq!(both, Ok(Some(("ä \"b\"".to_owned(), 7))));
        let all = <(Vec<u8>, bool, Option<i64>)>::from_columns(&columns(&["hash", "flag", "none"]), &image);
        assert_eq!(all, Ok(Some((vec![1, 255], true, None))));
        assert_eq!(<(i64, i64)>::from_columns(&columns(&["id", "none"]), &image), Ok(None));
        let unreadable = |names: &[&str]| i64::from_columns(&columns(names), &image).unwrap_err().to_string();
        assert!(unreadable(&["shop"]).contains("is no i64"));
        assert!(unreadable(&["gone"]).contains("install the triggers anew"));
        assert!(super::image("[1]").is_err());
    }
}
