//! Assigns the attributes of a function to the generated functions.

use proc_macro2::Ident;
use syn::Attribute;
use syn::spanned::Spanned as _;

/// Returns `true` for an attribute that decides if a function exists. All companions get it.
pub(super) fn is_conditional(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

/// Returns `true` for an attribute that concerns the code of the body.
pub(super) fn is_of_body(attribute: &Attribute) -> bool {
    const LINTS: [&str; 6] = ["allow", "expect", "warn", "deny", "forbid", "must_use"];
    is_conditional(attribute) || LINTS.iter().any(|lint| attribute.path().is_ident(lint))
}

/// Replaces `expect` by `allow`, since an expected lint occurs in the body only.
pub(super) fn without_expectations(attribute: &Attribute) -> Attribute {
    let mut attribute = attribute.clone();
    if attribute.path().is_ident("expect")
        && let syn::Meta::List(list) = &mut attribute.meta
    {
        list.path = Ident::new("allow", list.path.span()).into();
    }
    attribute
}
