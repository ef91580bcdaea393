//! Templates: parts between colons, each a text or one `{placeholder}`.

use super::arguments::Arguments;
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{Error, Expr, Ident, LitStr, Member, Result};

/// One part of a template.
pub(super) enum Part {
    Text(String),
    Value(Placeholder),
}

/// An argument, or a field of one.
pub(super) struct Placeholder {
    root: Ident,
    path: Expr,
    text: String,
}

/// A template, with its literal.
pub(super) struct Template {
    pub(super) parts: Vec<Part>,
    pub(super) span: Span,
}

impl Template {
    pub(super) fn parse(literal: &LitStr) -> Result<Self> {
        let (text, span) = (literal.value(), literal.span());
        if text.is_empty() {
            return Err(Error::new(
                span,
                "an empty template: write parts between colons, such as \"user:{user.id}\"",
            ));
        }
        let parts = split(&text).map_err(|wrong| Error::new(span, wrong))?;
        let parts = parts.iter().map(|part| Part::parse(part, literal)).collect::<Result<_>>()?;
        Ok(Self { parts, span })
    }

    /// Returns the arguments that the template names.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Ident> {
        self.placeholders().map(|placeholder| &placeholder.root)
    }

    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(placeholder) => Some(placeholder),
        })
    }

    /// Binds each placeholder to the argument that it names. Within a macro, a name in a text differs from the same
    /// name outside of the text.
    pub(super) fn bind(&mut self, arguments: &Arguments) {
        for part in &mut self.parts {
            if let Part::Value(placeholder) = part
                && let Some(name) = arguments.named(&placeholder.root)
            {
                rename(&mut placeholder.path, &name);
            }
        }
    }
}

impl Placeholder {
    pub(super) fn root(&self) -> &Ident {
        &self.root
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Part {
    fn parse(text: &str, literal: &LitStr) -> Result<Self> {
        let span = literal.span();
        if !text.contains(['{', '}']) {
            if text.is_empty() {
                return Err(Error::new(
                    span,
                    "an empty part: there is nothing before, between or after two colons",
                ));
            }
            return Ok(Self::Text(text.to_owned()));
        }
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let Some(inner) = inner.filter(|inner| !inner.contains(['{', '}'])) else {
            let mend = "separate them by a colon, such as \"user:{user.id}:{lang}\"";
            return Err(Error::new(span, format!("`{text}` is neither a text nor one placeholder: {mend}")));
        };
        Placeholder::parse(inner, literal).map(Self::Value)
    }

    /// Returns the part as an expression with a `CacheKey`.
    pub(super) fn tokens(&self, span: Span) -> TokenStream {
        match self {
            Self::Text(text) => quote_spanned!(span=> #text),
            Self::Value(Placeholder { path, .. }) => quote_spanned!(span=> #path),
        }
    }
}

impl Placeholder {
    fn parse(inner: &str, literal: &LitStr) -> Result<Self> {
        let wrong = || {
            let form = "a placeholder is an argument or a field of one: `{id}`, `{user.id}`, `{pair.0}`";
            Error::new(literal.span(), format!("`{{{inner}}}`: {form}"))
        };
        // the tokens have the span of the literal, so that errors point to it
        let path = LitStr::new(inner, literal.span()).parse::<Expr>().map_err(|_| wrong())?;
        let root = root(&path).ok_or_else(wrong)?;
        Ok(Self { root, path, text: inner.trim().to_owned() })
    }
}

/// Returns the argument at the beginning of a path of fields.
fn root(path: &Expr) -> Option<Ident> {
    match path {
        Expr::Path(path) => path.path.get_ident().cloned(),
        Expr::Field(field) => match field.member {
            Member::Named(_) | Member::Unnamed(_) => root(&field.base),
        },
        _ => None,
    }
}

/// Replaces the argument at the beginning of a path of fields by its declared identifier.
fn rename(path: &mut Expr, declared: &Ident) {
    match path {
        Expr::Path(path) => {
            for segment in &mut path.path.segments {
                segment.ident.set_span(declared.span().located_at(segment.ident.span()));
            }
        }
        Expr::Field(field) => rename(&mut field.base, declared),
        _ => {}
    }
}

/// Splits a template at its colons.
fn split(text: &str) -> std::result::Result<Vec<String>, &'static str> {
    let mut parts = vec![];
    let mut part = String::new();
    let mut within = false;
    for character in text.chars() {
        match character {
            ':' if within => {
                return Err("`:` within a placeholder, which has no format: values are written as keys are");
            }
            ':' => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            '{' => within = true,
            '}' => within = false,
            _ => {}
        }
        part.push(character);
    }
    if within {
        return Err("a `{` without its `}`");
    }
    parts.push(part);
    Ok(parts)
}

/// A tag: the first part is the kind, and the rest is the key.
pub(super) struct TagTemplate {
    pub(super) template: Template,
}

impl TagTemplate {
    pub(super) fn parse(literal: &LitStr) -> Result<Self> {
        let template = Template::parse(literal)?;
        if let Some(Part::Value(kind)) = template.parts.first() {
            let kind = kind.text();
            let mend = format!("write what kind of thing it is first, such as \"user:{{{kind}}}\"");
            return Err(Error::new(template.span, format!("a tag begins with a text: {mend}")));
        }
        Ok(Self { template })
    }

    /// Returns the tag, as `Tag::new` makes it from the same parts.
    pub(super) fn tokens(&self, larder: &syn::Path) -> TokenStream {
        let span = self.template.span;
        let mut parts = self.template.parts.iter().map(|part| part.tokens(span));
        let kind = parts.next();
        let rest: Vec<TokenStream> = parts.map(|part| quote_spanned!(span=> &(#part))).collect();
        let key = match rest.as_slice() {
            [] => quote_spanned!(span=> ()),
            [one] => one.clone(),
            many => quote_spanned!(span=> (#(#many,)*)),
        };
        quote_spanned!(span=> #larder::Tag::new(#kind, #key))
    }
}
