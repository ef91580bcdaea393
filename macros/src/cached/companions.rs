//! The companions of a cached function: uncached, key, refresh, insert, invalidate.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{GenericArgument, ItemFn, PathArguments, ReturnType, Type, parse_quote};

use super::attributes::{is_conditional, is_of_body};
use super::expand::{Expansion, HIDDEN_KEY};
use super::settings::Key;

impl Expansion<'_> {
    /// Returns the function as it was written.
    pub(super) fn uncached(&self) -> TokenStream {
        let ItemFn { attrs, vis, sig, block, .. } = self.function;
        let attrs = attrs.iter().filter(|attribute| is_of_body(attribute));
        let doc =
            format!("Calls [`{}`] without its cache: the function as it was written.", sig.ident.unraw());
        let mut sig = sig.clone();
        sig.ident = self.name("uncached");
        quote! {
            #[doc = #doc]
            #(#attrs)*
            #[allow(dead_code, rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)]
            #vis #sig #block
        }
    }

    pub(super) fn key(&self) -> TokenStream {
        if let Key::Expression(_) = self.settings.key {
            return TokenStream::new();
        }
        let larder = &self.settings.larder;
        let (arguments, referred, path) =
            (self.arguments.declared(), self.arguments.referred(), self.path(HIDDEN_KEY));
        let bounds = &self.function.sig.generics.where_clause;
        let doc =
            "Returns the key of a call of {} with these arguments, for all other operations of its cache.";
        let rest = quote!((#(#arguments),*) -> #larder::key::CallKey #bounds { #path(#(#referred),*) });
        self.companion("key", doc, false, &rest)
    }

    pub(super) fn refresh(&self) -> TokenStream {
        let (arguments, output) = (self.arguments.declared(), &self.function.sig.output);
        let bounds = &self.function.sig.generics.where_clause;
        let answer = self.answer("refresh");
        let doc = "Calls {} even if a value is cached, and stores the result.";
        self.companion("refresh", doc, true, &quote!((#(#arguments),*) #output #bounds { #answer }))
    }

    pub(super) fn insert(&self) -> TokenStream {
        let (larder, terms) = (&self.settings.larder, self.settings.terms());
        let (cache, key, arguments) = (self.cache(), self.key_of_call(), self.arguments.declared());
        let (value, kept) =
            (Ident::new("value", Span::mixed_site()), without_result(&self.function.sig.output));
        let arguments = arguments.chain([quote!(#value: #kept)]);
        let bounds = &self.function.sig.generics.where_clause;
        let insert = self.settings.larder(self.returns_span(), "insert");
        let span = self.returns_span().resolved_at(Span::call_site());
        let inserted = quote_spanned!(span=> #insert(#cache, #key, #terms, #value).await);
        let rest = quote!((#(#arguments),*) -> #larder::Result<()> #bounds { #inserted });
        let doc = "Stores a value as if {} had returned it for these arguments: see `Cache::insert`.";
        self.companion("insert", doc, true, &rest)
    }

    pub(super) fn invalidate(&self) -> TokenStream {
        let (larder, arguments) = (&self.settings.larder, self.arguments.declared());
        let (cache, key, bounds) =
            (self.cache(), self.key_of_call(), &self.function.sig.generics.where_clause);
        let rest = quote! {
            (#(#arguments),*) -> #larder::Result<()> #bounds { #larder::__macros::invalidate(#cache, #key).await }
        };
        let doc =
            "Removes the entry of a call of {} with these arguments: call it after a write was committed.";
        self.companion("invalidate", doc, true, &rest)
    }

    /// Returns a companion that takes the same arguments.
    fn companion(&self, suffix: &str, doc: &str, asynchronous: bool, rest: &TokenStream) -> TokenStream {
        let ItemFn { attrs, vis, sig, .. } = self.function;
        let attrs = attrs.iter().filter(|attribute| is_conditional(attribute));
        let (name, doc) = (self.name(suffix), doc.replace("{}", &format!("`{}`", sig.ident.unraw())));
        let (generics, _, _) = sig.generics.split_for_impl();
        let asynchronous = asynchronous.then(|| quote!(async));
        quote! {
            #[doc = #doc]
            #(#attrs)*
            #[allow(dead_code, deprecated, clippy::all, clippy::pedantic, clippy::nursery)]
            #vis #asynchronous fn #name #generics #rest
        }
    }
}

/// Returns the type of a successful call: `T` of `Result<T, E>`, with any path to `Result`.
fn without_result(output: &ReturnType) -> Type {
    let ReturnType::Type(_, ty) = output else { return parse_quote!(()) };
    if let Type::Path(path) = &**ty
        && let Some(last) = path.path.segments.last().filter(|segment| segment.ident == "Result")
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(kept)) = arguments.args.first()
    {
        return kept.clone();
    }
    Type::clone(ty)
}
