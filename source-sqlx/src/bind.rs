//! Binds keys to queries.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::{Arguments, Database};

use crate::Dialect;

/// A key that can be bound to queries: it returns its values, in the order of the placeholders.
///
/// Implemented for integers, `bool`, strings, bytes, `Uuid` (feature `uuid`) and tuples of up to eight of them.
/// [`Native`] makes a value of any type that sqlx can encode. If the database has no unsigned integers, they are
/// bound as signed 64-bit ones. A number that does not fit is an error of the load, and never another key.
///
/// # Examples
/// A key type of your own, for every database:
/// ```
/// use larder_sqlx::BindKey;
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct ProductKey { shop: String, id: i64 }
///
/// impl BindKey for ProductKey {
///     type Parts<'k> = (&'k str, i64);
///
///     fn parts(&self) -> (&str, i64) {
///         (&self.shop, self.id)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a key of type `{Self}` cannot be bound to a query",
    note = "implement `BindKey` by giving its parts: `(&self.shop, self.id)`; integers, strings, bytes and tuples have it"
)]
pub trait BindKey: 'static {
    /// The bound values: a single value, or a tuple of them.
    type Parts<'k>;

    /// Returns the values, in the order of the placeholders.
    fn parts(&self) -> Self::Parts<'_>;
}

/// Values that can be bound to queries of a database: the parts of [`BindKey::Parts`].
///
/// # Examples
/// ```
/// use larder_sqlx::BindParts;
/// assert_eq!(<(&str, i64) as BindParts<sqlx::Sqlite>>::BINDS, 2);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be bound to a query of this database",
    note = "integers, `bool`, `&str`, `&[u8]` and tuples of them can; `Native(..)` binds what sqlx encodes"
)]
pub trait BindParts<DB: Database>: Sized {
    /// The number of bound values.
    const BINDS: usize;

    /// Adds the values, in order.
    ///
    /// # Errors
    /// If a value does not fit the database's type.
    fn bind(self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;

    /// Adds the values of many keys: one after the other, or as one array for each part
    /// ([`Dialect::ARRAYS`](crate::Dialect::ARRAYS)).
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    fn bind_all(keys: Vec<Self>, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;
}

/// A [`BindKey`] whose parts a database can bind. Never implemented by hand.
///
/// # Examples
/// ```
/// use larder_sqlx::BindTo;
/// assert_eq!(<(String, u64) as BindTo<sqlx::Sqlite>>::BINDS, 2);
/// ```
#[diagnostic::on_unimplemented(
    message = "a key of type `{Self}` cannot be bound to a query of this database",
    note = "implement `BindKey` by giving its parts: `(&self.shop, self.id)`; integers, strings, bytes and tuples have it"
)]
pub trait BindTo<DB: Database>: BindKey {
    /// The number of bound values.
    const BINDS: usize;

    /// Adds the values of one key.
    ///
    /// # Errors
    /// If a value does not fit the database's type.
    fn bind_to(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;

    /// Adds the values of many keys.
    ///
    /// # Errors
    /// If a value does not fit the database's type.
    fn bind_all_to<'k>(
        keys: impl Iterator<Item = &'k Self>,
        arguments: &mut DB::Arguments,
    ) -> Result<(), BoxDynError>;
}

impl<K, DB> BindTo<DB> for K
where
    K: BindKey,
    DB: Database,
    for<'k> K::Parts<'k>: BindParts<DB>,
{
    const BINDS: usize = <K::Parts<'static> as BindParts<DB>>::BINDS;

    fn bind_to(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
        self.parts().bind(arguments)
    }

    fn bind_all_to<'k>(
        keys: impl Iterator<Item = &'k Self>,
        arguments: &mut DB::Arguments,
    ) -> Result<(), BoxDynError> {
        BindParts::bind_all(keys.map(BindKey::parts).collect(), arguments)
    }
}

macro_rules! copied_keys {
    ($($key:ty)*) => {$(
        impl BindKey for $key {
            type Parts<'k> = $key;

            fn parts(&self) -> $key {
                *self
            }
        }
    )*};
}
copied_keys!(bool i8 i16 i32 i64 u8 u16 u32 u64 usize);
#[cfg(feature = "uuid")]
copied_keys!(uuid::Uuid);

impl BindKey for str {
    type Parts<'k> = &'k str;

    fn parts(&self) -> &str {
        self
    }
}

macro_rules! borrowed_keys {
    ($([$($generic:tt)*] $key:ty => $borrowed:ty;)*) => {$(
        impl<$($generic)*> BindKey for $key {
            type Parts<'k> = &'k $borrowed;

            fn parts(&self) -> &$borrowed {
                self
            }
        }
    )*};
}
borrowed_keys! {
    [] String => str;
    [] Cow<'static, str> => str;
    [] Vec<u8> => [u8];
    [const N: usize] [u8; N] => [u8];
}

macro_rules! transparent_keys {
    ($($pointer:ident)*) => {$(
        impl<K: BindKey + ?Sized> BindKey for $pointer<K> {
            type Parts<'k> = K::Parts<'k>;

            fn parts(&self) -> K::Parts<'_> {
                (**self).parts()
            }
        }
    )*};
}
transparent_keys!(Box Arc);

/// A value of a type that sqlx encodes itself: a date, a decimal, an enum with `#[derive(sqlx::Type)]`.
///
/// PostgreSQL binds lists of keys as arrays, so for it the type also needs `sqlx::postgres::PgHasArrayType`.
///
/// # Examples
/// ```
/// use larder_sqlx::{BindKey, Native};
///
/// #[derive(Clone, Copy, PartialEq, Eq, Hash, sqlx::Type)]
/// #[repr(i32)]
/// enum Size { Small = 1, Large = 2 }
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Shelf { size: Size, row: i64 }
///
/// impl BindKey for Shelf {
///     type Parts<'k> = (Native<Size>, i64);
///
///     fn parts(&self) -> (Native<Size>, i64) {
///         (Native(self.size), self.row)
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Native<T>(pub T);

macro_rules! tuples {
    ($($part:ident)+) => {
        impl<$($part: BindKey),+> BindKey for ($($part,)+) {
            type Parts<'k> = ($($part::Parts<'k>,)+);

            #[allow(non_snake_case)]
            fn parts(&self) -> ($($part::Parts<'_>,)+) {
                let ($($part,)+) = self;
                ($($part.parts(),)+)
            }
        }

        impl<DB: Dialect, $($part: BindParts<DB>),+> BindParts<DB> for ($($part,)+) {
            const BINDS: usize = 0 $(+ $part::BINDS)+;

            #[allow(non_snake_case)]
            fn bind(self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
                let ($($part,)+) = self;
                $($part.bind(arguments)?;)+
                Ok(())
            }

            fn bind_all(keys: Vec<Self>, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
                if DB::ARRAYS {
                    return Self::bind_columns(keys, arguments);
                }
                keys.into_iter().try_for_each(|key| key.bind(arguments))
            }
        }

        impl<DB: Dialect, $($part: BindParts<DB>),+> Columns<DB> for ($($part,)+) {
            #[allow(non_snake_case)]
            fn bind_columns(keys: Vec<Self>, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
                let mut columns = ($(Vec::<$part>::with_capacity(keys.len()),)+);
                for ($($part,)+) in keys {
                    let columns = &mut columns;
                    tuples!(@push columns, $($part)+);
                }
                let ($($part,)+) = columns;
                $(BindParts::bind_all($part, arguments)?;)+
                Ok(())
            }
        }
    };
    (@push $columns:ident, $($part:ident)+) => {
        #[allow(non_snake_case)]
        {
            let values = ($($part,)+);
            tuples!(@each $columns, values, $($part)+; 0 1 2 3 4 5 6 7);
        }
    };
    (@each $columns:ident, $values:ident, $part:ident $($parts:ident)*; $at:tt $($more:tt)*) => {
        $columns.$at.push($values.$at);
        tuples!(@each $columns, $values, $($parts)*; $($more)*);
    };
    (@each $columns:ident, $values:ident, ; $($more:tt)*) => {};
}

/// Keys turned into a list for each of their parts.
trait Columns<DB: Database>: Sized {
    fn bind_columns(keys: Vec<Self>, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);

/// Implements binding one value after the other, each as the given type.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
macro_rules! bound_one_by_one {
    ($database:ty: $($value:ty as $bound:ty),* $(,)?) => {$(
        impl BindParts<$database> for $value {
            const BINDS: usize = 1;

            fn bind(self, arguments: &mut <$database as Database>::Arguments) -> Result<(), BoxDynError> {
                arguments.add(<$bound>::try_from(self)?)
            }

            fn bind_all(
                keys: Vec<Self>,
                arguments: &mut <$database as Database>::Arguments,
            ) -> Result<(), BoxDynError> {
                keys.into_iter().try_for_each(|key| BindParts::<$database>::bind(key, arguments))
            }
        }
    )*

        impl<T> BindParts<$database> for Native<T>
        where
            T: for<'q> sqlx::Encode<'q, $database> + sqlx::Type<$database>,
        {
            const BINDS: usize = 1;

            fn bind(self, arguments: &mut <$database as Database>::Arguments) -> Result<(), BoxDynError> {
                arguments.add(self.0)
            }

            fn bind_all(
                keys: Vec<Self>,
                arguments: &mut <$database as Database>::Arguments,
            ) -> Result<(), BoxDynError> {
                keys.into_iter().try_for_each(|key| arguments.add(key.0))
            }
        }
    };
}

#[cfg(feature = "sqlite")]
bound_one_by_one! {
    sqlx::Sqlite:
    bool as bool, i8 as i8, i16 as i16, i32 as i32, i64 as i64,
    u8 as i64, u16 as i64, u32 as i64, u64 as i64, usize as i64,
    &str as &str, &[u8] as &[u8],
}
#[cfg(feature = "mysql")]
bound_one_by_one! {
    sqlx::MySql:
    bool as bool, i8 as i8, i16 as i16, i32 as i32, i64 as i64,
    u8 as u8, u16 as u16, u32 as u32, u64 as u64, usize as u64,
    &str as &str, &[u8] as &[u8],
}

/// Implements binding a list of values as one array.
#[cfg(feature = "postgres")]
macro_rules! bound_as_arrays {
    ($($value:ty as $bound:ty),* $(,)?) => {$(
        impl BindParts<sqlx::Postgres> for $value {
            const BINDS: usize = 1;

            fn bind(self, arguments: &mut sqlx::postgres::PgArguments) -> Result<(), BoxDynError> {
                arguments.add(<$bound>::try_from(self)?)
            }

            fn bind_all(
                keys: Vec<Self>,
                arguments: &mut sqlx::postgres::PgArguments,
            ) -> Result<(), BoxDynError> {
                let bound: Vec<$bound> = keys.into_iter().map(<$bound>::try_from).collect::<Result<_, _>>()?;
                arguments.add(bound)
            }
        }
    )*};
}

#[cfg(feature = "postgres")]
bound_as_arrays! {
    bool as bool, i8 as i16, i16 as i16, i32 as i32, i64 as i64,
    u8 as i16, u16 as i32, u32 as i64, u64 as i64, usize as i64,
    &str as &str, &[u8] as &[u8],
}

#[cfg(feature = "postgres")]
impl<T> BindParts<sqlx::Postgres> for Native<T>
where
    T: for<'q> sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + sqlx::postgres::PgHasArrayType,
{
    const BINDS: usize = 1;

    fn bind(self, arguments: &mut sqlx::postgres::PgArguments) -> Result<(), BoxDynError> {
        arguments.add(self.0)
    }

    fn bind_all(keys: Vec<Self>, arguments: &mut sqlx::postgres::PgArguments) -> Result<(), BoxDynError> {
        arguments.add(keys.into_iter().map(|key| key.0).collect::<Vec<T>>())
    }
}

#[cfg(feature = "uuid")]
macro_rules! bound_natively {
    ($($feature:literal $database:ty),*) => {$(
        #[cfg(feature = $feature)]
        impl BindParts<$database> for uuid::Uuid {
            const BINDS: usize = 1;

            fn bind(self, arguments: &mut <$database as Database>::Arguments) -> Result<(), BoxDynError> {
                BindParts::<$database>::bind(Native(self), arguments)
            }

            fn bind_all(
                keys: Vec<Self>,
                arguments: &mut <$database as Database>::Arguments,
            ) -> Result<(), BoxDynError> {
                BindParts::<$database>::bind_all(keys.into_iter().map(Native).collect(), arguments)
            }
        }
    )*};
}
#[cfg(feature = "uuid")]
bound_natively!("sqlite" sqlx::Sqlite, "mysql" sqlx::MySql, "postgres" sqlx::Postgres);
