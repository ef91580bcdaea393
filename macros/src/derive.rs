//! The derive `#[derive(CacheKey)]`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Error, Field, Fields, GenericParam, LitStr, Path, Result,
    parse_quote,
};

/// The words in `#[cache_key(..)]`.
const WORDS: &str = "`skip` and `rename = \"..\"`";

#[derive(Default)]
struct Words {
    skip: Option<Span>,
    rename: Option<LitStr>,
    larder: Option<Path>,
}

/// One field that is part of the key.
struct Part<'a> {
    field: &'a Field,
    /// The binding of the field in the pattern.
    binding: Ident,
    /// Its name in the key, if it has one.
    name: Option<String>,
}

/// The fields of a struct or a variant.
struct Parts<'a> {
    pattern: TokenStream,
    parts: Vec<Part<'a>>,
}

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    syn::parse2(input).and_then(|input| expand(&input)).unwrap_or_else(Error::into_compile_error)
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let container = words(&input.attrs)?;
    if let Some(rename) = &container.rename {
        return Err(Error::new(
            rename.span(),
            "the name of the type is not in the key: rename fields and variants",
        ));
    }
    if let Some(span) = container.skip {
        return Err(Error::new(span, "skip fields, not the whole type"));
    }
    let larder: Path = container.larder.unwrap_or_else(|| parse_quote!(::larder));
    let writer = Ident::new("writer", Span::mixed_site());
    let (body, used) = match &input.data {
        Data::Struct(data) => of_struct(input, &data.fields, &larder, &writer)?,
        Data::Enum(data) => of_enum(data, &larder, &writer)?,
        Data::Union(data) => {
            let mend = "implement `CacheKey` by hand";
            return Err(Error::new_spanned(
                data.union_token,
                format!("a union does not know what it holds: {mend}"),
            ));
        }
    };
    let generics = bounded(input, &used, &larder);
    let (ident, (generics, arguments, bounds)) = (&input.ident, generics.split_for_impl());
    Ok(quote! {
        #[automatically_derived]
        impl #generics #larder::CacheKey for #ident #arguments #bounds {
            fn encode(&self, #writer: &mut #larder::key::KeyWriter) {
                #body
            }
        }
    })
}

/// Returns the code that writes a struct, and the fields that it uses.
fn of_struct<'a>(
    input: &DeriveInput,
    fields: &'a Fields,
    larder: &Path,
    writer: &Ident,
) -> Result<(TokenStream, Vec<&'a Field>)> {
    let parts = Parts::of(fields)?;
    if parts.parts.is_empty() && !fields.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "every field is skipped: all values would have one key",
        ));
    }
    let (pattern, body) = (&parts.pattern, parts.of_struct(larder, writer));
    Ok((quote!(let Self #pattern = self; #body), parts.fields().collect()))
}

/// Returns the code that writes the variants of an enum, and the fields that it uses.
fn of_enum<'a>(data: &'a DataEnum, larder: &Path, writer: &Ident) -> Result<(TokenStream, Vec<&'a Field>)> {
    let (mut arms, mut used, mut names) = (vec![], vec![], vec![]);
    for variant in &data.variants {
        let (name, span) = variant_name(variant)?;
        if names.contains(&name) {
            return Err(Error::new(span, format!("two variants are called `{name}` in keys")));
        }
        let parts = Parts::of(&variant.fields)?;
        let (ident, pattern, body) = (&variant.ident, &parts.pattern, parts.of_variant(larder, writer));
        arms.push(quote!(Self::#ident #pattern => { #writer.name(#name); #body }));
        used.extend(parts.fields());
        names.push(name);
    }
    let body = match arms.is_empty() {
        true => quote!(match *self {}),
        false => quote!(match self { #(#arms)* }),
    };
    Ok((body, used))
}

/// Returns the generics, with a bound on each type parameter that the key contains.
fn bounded(input: &DeriveInput, used: &[&Field], larder: &Path) -> syn::Generics {
    let mut generics = input.generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter
            && used.iter().any(|field| mentions(field.ty.to_token_stream(), &parameter.ident))
        {
            parameter.bounds.push(parse_quote!(#larder::CacheKey));
        }
    }
    generics
}

fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

impl<'a> Parts<'a> {
    fn of(fields: &'a Fields) -> Result<Self> {
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut bindings = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let words = words(&field.attrs)?;
            if let Some(larder) = &words.larder {
                return Err(Error::new_spanned(larder, "`crate` is said once, at the type"));
            }
            let binding = Ident::new(&format!("field_{index}"), Span::mixed_site());
            let Some(part) = Part::of(field, binding, words)? else {
                bindings.push(field.ident.as_ref().map_or_else(|| quote!(_), |name| quote!(#name: _)));
                continue;
            };
            if let Some(name) = &part.name
                && parts.iter().any(|other| other.name.as_ref() == Some(name))
            {
                return Err(Error::new_spanned(field, format!("two fields are called `{name}` in keys")));
            }
            let binding = &part.binding;
            bindings
                .push(field.ident.as_ref().map_or_else(|| quote!(#binding), |name| quote!(#name: #binding)));
            parts.push(part);
        }
        let pattern = match fields {
            Fields::Named(_) => quote!({ #(#bindings),* }),
            Fields::Unnamed(_) => quote!(( #(#bindings),* )),
            Fields::Unit => TokenStream::new(),
        };
        Ok(Self { pattern, parts })
    }

    fn fields(&self) -> impl Iterator<Item = &'a Field> {
        self.parts.iter().map(|part| part.field)
    }

    /// Returns the code that writes `(a:1,b:2)` or `(1,2)`. A wrapper struct is written like its only field.
    fn of_struct(&self, larder: &Path, writer: &Ident) -> TokenStream {
        match self.parts.as_slice() {
            [] => quote!(#larder::CacheKey::encode(&(), #writer);),
            [Part { binding, name: None, .. }] => quote!(#larder::CacheKey::encode(#binding, #writer);),
            _ => self.listed(larder, writer),
        }
    }

    /// Returns the code that writes the fields of a variant.
    fn of_variant(&self, larder: &Path, writer: &Ident) -> TokenStream {
        match self.parts.is_empty() {
            true => TokenStream::new(),
            false => self.listed(larder, writer),
        }
    }

    fn listed(&self, larder: &Path, writer: &Ident) -> TokenStream {
        let bindings = self.parts.iter().map(|part| &part.binding);
        let names: Vec<&String> = self.parts.iter().filter_map(|part| part.name.as_ref()).collect();
        match names.is_empty() {
            true => quote!(#writer.parts([#(#bindings as &dyn #larder::CacheKey),*]);),
            false => quote!(#writer.fields([#((#names, #bindings as &dyn #larder::CacheKey)),*]);),
        }
    }
}

impl<'a> Part<'a> {
    /// Returns the part for a field. `None` if it is skipped.
    fn of(field: &'a Field, binding: Ident, words: Words) -> Result<Option<Self>> {
        let own = field.ident.as_ref().map(|name| name.unraw().to_string());
        match (words.skip, words.rename) {
            (Some(span), Some(_)) => Err(Error::new(span, "a field that is skipped has no name in the key")),
            (Some(_), None) => Ok(None),
            (None, Some(rename)) if own.is_none() => {
                Err(Error::new(rename.span(), "a field without a name has none in the key"))
            }
            (None, rename) => {
                let name = rename.as_ref().map(LitStr::value).or(own);
                Ok(Some(Self { field, binding, name }))
            }
        }
    }
}

fn variant_name(variant: &syn::Variant) -> Result<(String, Span)> {
    let words = words(&variant.attrs)?;
    if let Some(larder) = &words.larder {
        return Err(Error::new_spanned(larder, "`crate` is said once, at the type"));
    }
    match (words.skip, words.rename) {
        (Some(span), _) => Err(Error::new(span, "a variant cannot be skipped: skip its fields")),
        (None, Some(rename)) => Ok((rename.value(), rename.span())),
        (None, None) => Ok((variant.ident.unraw().to_string(), variant.ident.span())),
    }
}

fn words(attributes: &[Attribute]) -> Result<Words> {
    let mut words = Words::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("cache_key")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                words.skip = Some(meta.path.segments[0].ident.span());
            } else if meta.path.is_ident("rename") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() {
                    return Err(Error::new(name.span(), "an empty name"));
                }
                words.rename = Some(name);
            } else if meta.path.is_ident("crate") {
                words.larder = Some(meta.value()?.parse()?);
            } else {
                let unknown = meta.path.to_token_stream();
                return Err(meta.error(format!("`{unknown}` is not known to `cache_key`: there are {WORDS}")));
            }
            Ok(())
        })?;
    }
    Ok(words)
}
