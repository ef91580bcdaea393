//! The settings of `#[cached(..)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprArray, ExprLit, Ident, Lit, LitStr, Path, Result, Token, parenthesized};

use super::template::{TagTemplate, Template};
use super::ttl;

const WORDS: &str = "`cache`, `key`, `prefix`, `skip`, `ttl`, `tags`, `error`, `associated` and `crate`";

/// The form of a call's key.
pub(super) enum Key {
    /// The function's name and all arguments that are not skipped.
    Arguments,
    /// The function's name and the parts of a template.
    Template(Template),
    /// A key of the cache's own type.
    Expression(Expr),
}

/// A tag as a template, or as an expression.
pub(super) enum TagOf {
    Template(TagTemplate),
    Expression(Expr),
}

/// The TTL of a value.
pub(super) enum Ttl {
    Written(std::time::Duration),
    Expression(Expr),
}

/// The settings of one attribute.
pub(super) struct Settings {
    pub(super) cache: Expr,
    pub(super) key: Key,
    pub(super) prefix: Option<String>,
    pub(super) skip: Vec<Ident>,
    pub(super) ttl: Option<Ttl>,
    pub(super) tags: Vec<TagOf>,
    pub(super) error: Option<Expr>,
    pub(super) associated: bool,
    pub(super) larder: Path,
}

#[derive(Default)]
struct Collected {
    cache: Option<Expr>,
    key: Option<Key>,
    prefix: Option<LitStr>,
    skip: Option<Vec<Ident>>,
    ttl: Option<Ttl>,
    tags: Option<Vec<TagOf>>,
    error: Option<Expr>,
    associated: Option<()>,
    larder: Option<Path>,
}

impl Parse for Settings {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut collected = Collected::default();
        while !input.is_empty() {
            collected.one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        collected.settings()
    }
}

impl Collected {
    /// Reads one setting.
    fn one(&mut self, input: ParseStream<'_>) -> Result<()> {
        if input.peek(Token![crate]) {
            let word = Ident::from(input.parse::<Token![crate]>()?);
            return set(&mut self.larder, &word, value(input, &word)?);
        }
        let word: Ident =
            input.parse().map_err(|wrong| Error::new(wrong.span(), format!("settings are {WORDS}")))?;
        match word.to_string().as_str() {
            "cache" => set(&mut self.cache, &word, value(input, &word)?),
            "key" => set(&mut self.key, &word, key(value(input, &word)?)?),
            "prefix" => set(&mut self.prefix, &word, value(input, &word)?),
            "skip" => set(&mut self.skip, &word, idents(input, &word)?),
            "ttl" => set(&mut self.ttl, &word, ttl_of(value(input, &word)?)?),
            "tags" => set(&mut self.tags, &word, tags(value(input, &word)?)?),
            "error" => set(&mut self.error, &word, value(input, &word)?),
            "associated" => set(&mut self.associated, &word, ()),
            unknown => Err(Error::new(
                word.span(),
                format!("`{unknown}` is no setting of `cached`: there are {WORDS}"),
            )),
        }
    }

    fn settings(self) -> Result<Settings> {
        let Self { cache, key, prefix, skip, ttl, tags, error, associated, larder } = self;
        let missing = || {
            let mend = "name it, such as `cache = self.products`: an expression that is a `Cache`";
            Error::new(Span::call_site(), format!("which cache? {mend}"))
        };
        let key = key.unwrap_or(Key::Arguments);
        if let (Key::Expression(_), Some(prefix)) = (&key, &prefix) {
            let mend = "leave `prefix` out, or write the key as a template";
            return Err(Error::new(
                prefix.span(),
                format!("a key that is an expression has no prefix: {mend}"),
            ));
        }
        Ok(Settings {
            cache: cache.ok_or_else(missing)?,
            key,
            prefix: prefix.map(|prefix| checked_prefix(&prefix)).transpose()?,
            skip: skip.unwrap_or_default(),
            ttl,
            tags: tags.unwrap_or_default(),
            error,
            associated: associated.is_some(),
            larder: match larder {
                Some(larder) => larder,
                None => syn::parse2(quote!(::larder))?,
            },
        })
    }
}

/// Parses the value after `word =`.
fn value<T: Parse>(input: ParseStream<'_>, word: &Ident) -> Result<T> {
    if !input.peek(Token![=]) {
        return Err(Error::new(word.span(), format!("`{word}` needs a value: `{word} = ..`")));
    }
    input.parse::<Token![=]>()?;
    input.parse()
}

/// Parses the names after `word` between parentheses.
fn idents(input: ParseStream<'_>, word: &Ident) -> Result<Vec<Ident>> {
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(word.span(), format!("`{word}` names arguments: `{word}(pool, context)`")));
    }
    let inner;
    parenthesized!(inner in input);
    Ok(Punctuated::<Ident, Token![,]>::parse_terminated(&inner)?.into_iter().collect())
}

fn set<T>(place: &mut Option<T>, word: &Ident, value: T) -> Result<()> {
    if place.replace(value).is_some() {
        return Err(Error::new(word.span(), format!("`{word}` is set twice")));
    }
    Ok(())
}

fn key(value: Expr) -> Result<Key> {
    match text(&value) {
        Some(literal) => Template::parse(literal).map(Key::Template),
        None => Ok(Key::Expression(value)),
    }
}

fn ttl_of(value: Expr) -> Result<Ttl> {
    match text(&value) {
        Some(literal) => ttl::parse(literal).map(Ttl::Written),
        None => Ok(Ttl::Expression(value)),
    }
}

fn tags(list: ExprArray) -> Result<Vec<TagOf>> {
    let tag = |value: Expr| match text(&value) {
        Some(literal) => TagTemplate::parse(literal).map(TagOf::Template),
        None => Ok(TagOf::Expression(value)),
    };
    list.elems.into_iter().map(tag).collect()
}

fn text(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Some(literal),
        _ => None,
    }
}

fn checked_prefix(literal: &LitStr) -> Result<String> {
    let prefix = literal.value();
    let wrong = match prefix.as_str() {
        "" => "an empty prefix: it is the name of the function in keys",
        _ if prefix.contains(':') => {
            "a prefix holds no `:`, which is what keeps it apart from the paths of functions"
        }
        _ if prefix.contains(['{', '}']) => "a prefix has no placeholders: those are the key's",
        _ => return Ok(prefix),
    };
    Err(Error::new(literal.span(), wrong))
}

impl Settings {
    /// Returns the path of an item of larder, with the span for errors about it.
    pub(super) fn larder(&self, span: Span, name: &str) -> TokenStream {
        let mut path = self.larder.clone();
        let span = span.resolved_at(Span::call_site());
        if let Some(colons) = &mut path.leading_colon {
            colons.spans = [span; 2];
        }
        path.segments.iter_mut().for_each(|segment| segment.ident.set_span(span));
        let name = Ident::new(name, span);
        quote_spanned!(span=> #path::__macros::#name)
    }

    /// Returns all templates: that of the key, and those of tags.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        let key = match &self.key {
            Key::Template(template) => Some(template),
            Key::Arguments | Key::Expression(_) => None,
        };
        let tags = self.tags.iter().filter_map(|tag| match tag {
            TagOf::Template(tag) => Some(&tag.template),
            TagOf::Expression(_) => None,
        });
        key.into_iter().chain(tags)
    }

    pub(super) fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        let key = match &mut self.key {
            Key::Template(template) => Some(template),
            Key::Arguments | Key::Expression(_) => None,
        };
        let tags = self.tags.iter_mut().filter_map(|tag| match tag {
            TagOf::Template(tag) => Some(&mut tag.template),
            TagOf::Expression(_) => None,
        });
        key.into_iter().chain(tags)
    }

    /// Returns the terms of storing: the TTL and the tags.
    pub(super) fn terms(&self) -> TokenStream {
        let larder = &self.larder;
        let ttl = self.ttl.as_ref().map(|ttl| match ttl {
            Ttl::Written(ttl) => {
                // fits, since `parse` made it from 64 bits of milliseconds
                let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                quote!(.ttl(::core::time::Duration::from_millis(#millis)))
            }
            Ttl::Expression(ttl) => quote!(.ttl(#ttl)),
        });
        let tags = self.tags.iter().map(|tag| match tag {
            TagOf::Template(tag) => tag.tokens(larder),
            TagOf::Expression(tag) => quote!(#tag),
        });
        quote!(#larder::__macros::Terms::new() #ttl #(.tag(#tags))*)
    }
}
