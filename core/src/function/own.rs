//! Arguments that a load owns.

use std::borrow::ToOwned;

/// A type of argument that a load can own.
#[diagnostic::on_unimplemented(
    message = "a load may outlive the call that began it, and `{Self}` cannot be owned by one",
    label = "not `Clone`, or not `Send + 'static`",
    note = "arguments of a `#[cached]` function, and its `self`, are cloned for a load: derive `Clone`, or share what cannot be cloned in an `Arc`"
)]
pub trait Own {
    type Owned;
    fn own(&self) -> Self::Owned;
}

#[diagnostic::do_not_recommend]
impl<T: ToOwned<Owned: Send + 'static> + ?Sized> Own for T {
    type Owned = T::Owned;

    fn own(&self) -> T::Owned {
        self.to_owned()
    }
}

/// Returns a copy of an argument that a load can own.
pub fn own<T: Own + ?Sized>(argument: &T) -> T::Owned {
    argument.own()
}
