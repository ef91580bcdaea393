//! How keys are bound to queries.

use sqlx::error::BoxDynError;
use sqlx::{Arguments, Database, Encode, Type};

/// A key that can be bound to a query: a value, or a tuple of up to four of them, in the order of the placeholders.
///
/// # Examples
/// A key type of one's own:
/// ```
/// use larder_sqlx::BindKey;
/// use sqlx::{Database, error::BoxDynError};
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct ProductId(i64);
///
/// impl<DB: Database> BindKey<DB> for ProductId
/// where
///     i64: BindKey<DB>,
/// {
///     const BINDS: usize = 1;
///
///     fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
///         self.0.bind(arguments)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a key of type `{Self}` cannot be bound to a query of this database",
    note = "implement `BindKey` by binding its parts: `self.0.bind(arguments)`; integers, strings, bytes and tuples have it"
)]
pub trait BindKey<DB: Database> {
    /// How many values are bound.
    const BINDS: usize;

    /// Adds the values, in order.
    ///
    /// # Errors
    /// When a value does not fit the database's type.
    fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;
}

macro_rules! bind_copies {
    ($($value:ty)*) => {$(
        impl<DB: Database> BindKey<DB> for $value
        where
            $value: for<'q> Encode<'q, DB> + Type<DB>,
        {
            const BINDS: usize = 1;

            fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
                arguments.add(*self)
            }
        }
    )*};
}
bind_copies!(bool i16 i32 i64);

/// Databases have signed integers: what does not fit is an error of the load, not another key.
macro_rules! bind_as_i64 {
    ($($value:ty)*) => {$(
        impl<DB: Database> BindKey<DB> for $value
        where
            i64: for<'q> Encode<'q, DB> + Type<DB>,
        {
            const BINDS: usize = 1;

            fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
                arguments.add(i64::try_from(*self)?)
            }
        }
    )*};
}
bind_as_i64!(i8 u8 u16 u32 u64 usize);

impl<DB: Database> BindKey<DB> for String
where
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
{
    const BINDS: usize = 1;

    fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
        arguments.add(self.as_str())
    }
}

impl<DB: Database> BindKey<DB> for Vec<u8>
where
    for<'q> &'q [u8]: Encode<'q, DB> + Type<DB>,
{
    const BINDS: usize = 1;

    fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
        arguments.add(self.as_slice())
    }
}

macro_rules! bind_tuples {
    ($($part:ident)+) => {
        impl<DB: Database, $($part: BindKey<DB>),+> BindKey<DB> for ($($part,)+) {
            const BINDS: usize = 0 $(+ $part::BINDS)+;

            #[allow(non_snake_case)]
            fn bind(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
                let ($($part,)+) = self;
                $($part.bind(arguments)?;)+
                Ok(())
            }
        }
    };
}
bind_tuples!(A);
bind_tuples!(A B);
bind_tuples!(A B C);
bind_tuples!(A B C D);
