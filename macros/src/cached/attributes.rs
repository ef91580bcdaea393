//! Which attributes of a function go where.

use proc_macro2::Ident;
use syn::Attribute;
use syn::spanned::Spanned as _;

/// Attributes that decide whether a function is there at all belong to all of its companions.
pub(super) fn is_conditional(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

/// Attributes that are about the code of the body.
pub(super) fn is_of_body(attribute: &Attribute) -> bool {
    const LINTS: [&str; 6] = ["allow", "expect", "warn", "deny", "forbid", "must_use"];
    is_conditional(attribute) || LINTS.iter().any(|lint| attribute.path().is_ident(lint))
}

/// An expected lint is met in the body alone.
pub(super) fn without_expectations(attribute: &Attribute) -> Attribute {
    let mut attribute = attribute.clone();
    if attribute.path().is_ident("expect")
        && let syn::Meta::List(list) = &mut attribute.meta
    {
        list.path = Ident::new("allow", list.path.span()).into();
    }
    attribute
}
