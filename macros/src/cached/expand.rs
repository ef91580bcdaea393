//! The code that takes a function's place: the function as it answers from the cache, and its companions.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{
    Attribute, GenericArgument, GenericParam, Generics, ItemFn, PathArguments, Result, ReturnType, Type,
    parse_quote,
};

use super::arguments::Arguments;
use super::check::check;
use super::settings::{Key, Settings};

/// What the companion is called that the others get keys from. Where `associated` was forgotten it is the function that the
/// compiler does not find, so it is called by the mend.
const HIDDEN_KEY: &str = "_in_an_impl_write_associated";

/// Everything that the parts of the expansion are made of.
struct Expansion<'a> {
    function: &'a ItemFn,
    settings: &'a Settings,
    arguments: Arguments,
    /// What comes before the name of a companion: `Self::` in an `impl`.
    owner: Option<TokenStream>,
    /// `::<T, N>`.
    turbofish: Option<TokenStream>,
}

pub(super) fn expand(function: &ItemFn, mut settings: Settings) -> Result<TokenStream> {
    let arguments = Arguments::parse(&function.sig.inputs)?;
    check(function, &arguments, &settings)?;
    settings.templates_mut().for_each(|template| template.bind(&arguments));
    let owner = (arguments.this.is_some() || settings.associated).then(|| quote!(Self::));
    let turbofish = turbofish(&function.sig.generics);
    let expansion = Expansion { function, settings: &settings, arguments, owner, turbofish };
    let parts = [
        expansion.cached(),
        expansion.uncached(),
        expansion.hidden_key(),
        expansion.key(),
        expansion.refresh(),
        expansion.insert(),
        expansion.invalidate(),
    ];
    Ok(parts.into_iter().collect())
}

impl Expansion<'_> {
    /// The name of a companion, which points at the function's.
    fn name(&self, suffix: &str) -> Ident {
        format_ident!("{}_{suffix}", self.function.sig.ident)
    }

    /// A companion, ready to be called.
    fn path(&self, suffix: &str) -> TokenStream {
        let (owner, name, turbofish) = (&self.owner, self.name(suffix), &self.turbofish);
        quote!(#owner #name #turbofish)
    }

    /// Where errors about what is returned point.
    fn returns_span(&self) -> Span {
        match &self.function.sig.output {
            ReturnType::Default => self.function.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        }
    }

    /// The cache, as a reference.
    fn cache(&self) -> TokenStream {
        let cache = &self.settings.cache;
        let span = cache.span();
        let of_calls = self.settings.larder(span, "of_calls");
        match &self.settings.key {
            Key::Expression(_) => quote_spanned!(span=> &(#cache)),
            Key::Arguments | Key::Template(_) => quote_spanned!(span=> #of_calls(&(#cache))),
        }
    }

    /// The key, as a reference.
    fn key_of_call(&self) -> TokenStream {
        match &self.settings.key {
            Key::Expression(key) => quote_spanned!(key.span()=> &(#key)),
            Key::Arguments | Key::Template(_) => {
                let (path, arguments) = (self.path(HIDDEN_KEY), self.arguments.referred());
                quote!(&#path(#(#arguments),*))
            }
        }
    }

    /// What makes the function's errors of larder's.
    fn failed(&self) -> TokenStream {
        match &self.settings.error {
            Some(error) => {
                let mapped = self.settings.larder(error.span(), "mapped");
                quote_spanned!(error.span()=> #mapped(#error))
            }
            None => self.settings.larder(self.returns_span(), "own_error"),
        }
    }

    /// The closure that makes ready what a load owns.
    fn prepare(&self) -> TokenStream {
        let (terms, uncached) = (self.settings.terms(), self.path("uncached"));
        let this = Ident::new("this", Span::mixed_site());
        let prepared = Ident::new("terms", Span::mixed_site());
        let own_this = self.arguments.this.as_ref().map(|receiver| receiver.owned(self.settings, &this));
        let lent_this = self.arguments.this.as_ref().map(|receiver| receiver.lent(&this));
        let own = self.arguments.named.iter().map(|argument| argument.owned(self.settings));
        let lent = self.arguments.named.iter().map(super::arguments::Argument::lent);
        let lent = lent_this.into_iter().chain(lent);
        quote! {
            || {
                let #prepared = #terms;
                #own_this
                #(#own)*
                (#prepared, move || async move { #uncached(#(#lent),*).await })
            }
        }
    }

    /// Answers by `call` or `refresh`, and past the cache if that has no answer.
    fn answer(&self, by: &str) -> TokenStream {
        let (cache, key, prepare, failed) = (self.cache(), self.key_of_call(), self.prepare(), self.failed());
        let by = self.settings.larder(self.returns_span(), by);
        let span = self.returns_span().resolved_at(Span::call_site());
        let answered = quote_spanned!(span=> #by(#cache, #key, #prepare, #failed).await);
        let (uncached, passed) = (self.path("uncached"), self.arguments.passed());
        let answer = Ident::new("answer", Span::mixed_site());
        quote! {
            match #answered {
                ::core::ops::ControlFlow::Break(#answer) => #answer,
                ::core::ops::ControlFlow::Continue(()) => {
                    ::std::boxed::Box::pin(#uncached(#(#passed),*)).await
                }
            }
        }
    }

    /// The function, which answers from the cache.
    fn cached(&self) -> TokenStream {
        let ItemFn { attrs, vis, sig, .. } = self.function;
        let attrs = attrs.iter().map(without_expectations);
        let (ident, output) = (&sig.ident, &sig.output);
        let (generics, _, bounds) = sig.generics.split_for_impl();
        let arguments = self.arguments.declared();
        let answer = self.answer("call");
        quote! {
            #(#attrs)*
            #[allow(deprecated, clippy::needless_pass_by_value, clippy::unused_self)]
            #vis async fn #ident #generics(#(#arguments),*) #output #bounds {
                #answer
            }
        }
    }

    /// The function as it was written.
    fn uncached(&self) -> TokenStream {
        let ItemFn { attrs, vis, sig, block, .. } = self.function;
        let attrs = attrs.iter().filter(|attribute| is_of_body(attribute));
        let doc = format!("[`{}`] past its cache: the function as it was written.", sig.ident.unraw());
        let mut sig = sig.clone();
        sig.ident = self.name("uncached");
        quote! {
            #[doc = #doc]
            #(#attrs)*
            #[allow(dead_code, rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)]
            #vis #sig #block
        }
    }

    /// A companion that takes the same arguments.
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

    /// The key by references, for the others.
    fn hidden_key(&self) -> TokenStream {
        let Settings { larder, key, prefix, .. } = self.settings;
        let parts: Vec<TokenStream> = match key {
            Key::Expression(_) => return TokenStream::new(),
            Key::Template(template) => template.parts.iter().map(|part| part.tokens(template.span)).collect(),
            Key::Arguments => {
                let used = self
                    .arguments
                    .named
                    .iter()
                    .filter(|argument| !self.settings.skip.contains(&argument.name));
                used.map(|argument| argument.name.to_token_stream()).collect()
            }
        };
        let parts = parts.iter().map(|part| quote_spanned!(part.span()=> &(#part) as &dyn #larder::CacheKey));
        let ItemFn { attrs, sig, .. } = self.function;
        let attrs = attrs.iter().filter(|attribute| is_conditional(attribute));
        let (name, arguments) = (self.name(HIDDEN_KEY), self.arguments.borrowed());
        let (generics, _, bounds) = sig.generics.split_for_impl();
        let key = match prefix {
            Some(prefix) => quote!(#larder::__macros::call_key(#prefix, &[#(#parts),*])),
            None => {
                let (within, own) = (name.to_string(), sig.ident.unraw().to_string());
                let owner = match &self.owner {
                    Some(_) => quote!(::core::option::Option::Some(::core::any::type_name::<Self>())),
                    None => quote!(::core::option::Option::None),
                };
                let types = self.instance();
                quote! {
                    #larder::__macros::path_key(&{ fn here() {} here }, #within, #own, #owner, &[#(#types,)* #(#parts),*])
                }
            }
        };
        quote! {
            #(#attrs)*
            #[doc(hidden)]
            #[allow(non_snake_case, unused_parens, unused_variables, clippy::all, clippy::pedantic, clippy::nursery)]
            fn #name #generics(#(#arguments),*) -> #larder::CallKey #bounds {
                #key
            }
        }
    }

    /// What tells the instances of a generic function apart: types, then constants, then the types of `impl Trait`.
    fn instance(&self) -> Vec<TokenStream> {
        let larder = &self.settings.larder;
        let generics = self.function.sig.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => {
                let ident = &parameter.ident;
                Some(quote!(&::core::any::type_name::<#ident>() as &dyn #larder::CacheKey))
            }
            GenericParam::Const(parameter) => {
                let ident = &parameter.ident;
                Some(quote!(&#ident as &dyn #larder::CacheKey))
            }
            GenericParam::Lifetime(_) => None,
        });
        let unnamed = self.arguments.named.iter().filter(|argument| argument.is_unnamed()).map(|argument| {
            let name = &argument.name;
            quote!(&::core::any::type_name_of_val(#name) as &dyn #larder::CacheKey)
        });
        generics.chain(unnamed).collect()
    }

    fn key(&self) -> TokenStream {
        if let Key::Expression(_) = self.settings.key {
            return TokenStream::new();
        }
        let larder = &self.settings.larder;
        let (arguments, referred, path) =
            (self.arguments.declared(), self.arguments.referred(), self.path(HIDDEN_KEY));
        let bounds = &self.function.sig.generics.where_clause;
        let doc = "The key of a call of {} with these arguments in its cache: for everything else that a cache can do.";
        let rest = quote!((#(#arguments),*) -> #larder::CallKey #bounds { #path(#(#referred),*) });
        self.companion("key", doc, false, &rest)
    }

    fn refresh(&self) -> TokenStream {
        let (arguments, output) = (self.arguments.declared(), &self.function.sig.output);
        let bounds = &self.function.sig.generics.where_clause;
        let answer = self.answer("refresh");
        let doc = "Calls {} whatever is cached, and keeps what it returns.";
        self.companion("refresh", doc, true, &quote!((#(#arguments),*) #output #bounds { #answer }))
    }

    fn insert(&self) -> TokenStream {
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
        let doc = "Keeps a value as if {} had returned it for these arguments: see `Cache::insert`.";
        self.companion("insert", doc, true, &rest)
    }

    fn invalidate(&self) -> TokenStream {
        let (larder, arguments) = (&self.settings.larder, self.arguments.declared());
        let (cache, key, bounds) =
            (self.cache(), self.key_of_call(), &self.function.sig.generics.where_clause);
        let rest = quote! {
            (#(#arguments),*) -> #larder::Result<()> #bounds { #larder::__macros::invalidate(#cache, #key).await }
        };
        let doc = "Forgets what is cached of a call of {} with these arguments: call it after a write was committed.";
        self.companion("invalidate", doc, true, &rest)
    }
}

fn turbofish(generics: &Generics) -> Option<TokenStream> {
    let arguments: Vec<&Ident> = generics
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            GenericParam::Const(parameter) => Some(&parameter.ident),
            GenericParam::Lifetime(_) => None,
        })
        .collect();
    (!arguments.is_empty()).then(|| quote!(::<#(#arguments),*>))
}

/// What a function returns if it does not fail: `T` of `Result<T, E>`, however the `Result` is spelled.
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

/// Attributes that decide whether a function is there at all belong to all of its companions.
fn is_conditional(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
}

/// Attributes that are about the code of the body.
fn is_of_body(attribute: &Attribute) -> bool {
    const LINTS: [&str; 6] = ["allow", "expect", "warn", "deny", "forbid", "must_use"];
    is_conditional(attribute) || LINTS.iter().any(|lint| attribute.path().is_ident(lint))
}

/// An expected lint is met in the body alone.
fn without_expectations(attribute: &Attribute) -> Attribute {
    let mut attribute = attribute.clone();
    if attribute.path().is_ident("expect")
        && let syn::Meta::List(list) = &mut attribute.meta
    {
        list.path = Ident::new("allow", list.path.span()).into();
    }
    attribute
}
