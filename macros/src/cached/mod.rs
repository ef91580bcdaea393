//! The attribute `#[cached]`.

mod arguments;
mod attributes;
mod check;
mod companions;
mod expand;
mod settings;
mod template;
mod ttl;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, Result};

use self::settings::Settings;

/// Returns the function and its companions. If there is an error, returns the unchanged function and the error.
pub(crate) fn cached(settings: TokenStream, item: &TokenStream) -> TokenStream {
    match expanded(settings, item.clone()) {
        Ok(expansion) => expansion,
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #item)
        }
    }
}

fn expanded(settings: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)?;
    let settings: Settings = syn::parse2(settings)?;
    expand::expand(&function, settings)
}
