//! The code that replaces a function: the function that answers from the cache.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Expr, GenericParam, Generics, ItemFn, Result, ReturnType};

use super::arguments::{Argument, Arguments};
use super::attributes::{is_conditional, without_expectations};
use super::check::check;
use super::settings::{Key, Settings};

/// The name of the companion from which the others get keys. If `associated` was forgotten, the compiler does not
/// find this function, so its name is the hint.
pub(super) const HIDDEN_KEY: &str = "_in_an_impl_write_associated";

/// The data from which the parts of the expansion are made.
pub(super) struct Expansion<'a> {
    pub(super) function: &'a ItemFn,
    pub(super) settings: &'a Settings,
    pub(super) arguments: Arguments,
    /// The prefix of a companion's name: `Self::` in an `impl`.
    owner: Option<TokenStream>,
    /// The generic arguments of a companion: `::<T, N>`.
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
    /// Returns the name of a companion, with the span of the function's name.
    pub(super) fn name(&self, suffix: &str) -> Ident {
        format_ident!("{}_{suffix}", self.function.sig.ident)
    }

    /// Returns the path of a companion, ready to be called.
    pub(super) fn path(&self, suffix: &str) -> TokenStream {
        let (owner, name, turbofish) = (&self.owner, self.name(suffix), &self.turbofish);
        quote!(#owner #name #turbofish)
    }

    /// Returns the span for errors about the return type.
    pub(super) fn returns_span(&self) -> Span {
        match &self.function.sig.output {
            ReturnType::Default => self.function.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        }
    }

    /// Returns the cache, as a reference.
    pub(super) fn cache(&self) -> TokenStream {
        let cache = referred(&self.settings.cache);
        match &self.settings.key {
            Key::Expression(_) => cache,
            Key::Arguments | Key::Template(_) => {
                let span = self.settings.cache.span();
                let of_calls = self.settings.larder(span, "of_calls");
                quote_spanned!(span=> #of_calls(#cache))
            }
        }
    }

    /// Returns the key, as a reference.
    pub(super) fn key_of_call(&self) -> TokenStream {
        match &self.settings.key {
            Key::Expression(key) => referred(key),
            Key::Arguments | Key::Template(_) => {
                let (path, arguments) = (self.path(HIDDEN_KEY), self.arguments.referred());
                quote!(&#path(#(#arguments),*))
            }
        }
    }

    /// Returns the conversion from larder's errors to the function's.
    fn failed(&self) -> TokenStream {
        match &self.settings.error {
            Some(error) => {
                let mapped = self.settings.larder(error.span(), "mapped");
                quote_spanned!(error.span()=> #mapped(#error))
            }
            None => self.settings.larder(self.returns_span(), "own_error"),
        }
    }

    /// Returns the closure that prepares the data that a load owns.
    fn prepare(&self) -> TokenStream {
        let (terms, uncached) = (self.settings.terms(), self.path("uncached"));
        let this = Ident::new("this", Span::mixed_site());
        let prepared = Ident::new("terms", Span::mixed_site());
        let own_this = self.arguments.this.as_ref().map(|receiver| receiver.owned(self.settings, &this));
        let lent_this = self.arguments.this.as_ref().map(|receiver| receiver.lent(&this));
        let own = self.arguments.named.iter().map(|argument| argument.owned(self.settings));
        let lent = self.arguments.named.iter().map(Argument::lent);
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

    /// Returns the call of `call` or `refresh`, and the uncached call for the case that the cache has no answer.
    pub(super) fn answer(&self, by: &str) -> TokenStream {
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

    /// Returns the function that answers from the cache.
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

    /// Returns the companion that makes the key from references, for the other companions.
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
            fn #name #generics(#(#arguments),*) -> #larder::key::CallKey #bounds {
                #key
            }
        }
    }

    /// Returns the tokens that distinguish the instances of a generic function: types, then constants, then the
    /// types of `impl Trait`.
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
}

/// Returns a reference to the value of an expression, or to the value that it refers to. It takes two references,
/// since with one the compiler would expect the cache itself of an `.await` or a `match`.
fn referred(expression: &Expr) -> TokenStream {
    let span = expression.span().resolved_at(Span::mixed_site());
    quote_spanned!(span=> &&(#expression))
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
