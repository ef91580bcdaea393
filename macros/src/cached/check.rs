//! Checks of the function together with the settings.

use proc_macro2::Ident;
use quote::ToTokens as _;
use syn::{Error, ItemFn, Result, ReturnType, Type};

use super::arguments::{Arguments, mentions};
use super::settings::{Key, Settings};
use super::template::{Placeholder, Template};

pub(super) fn check(function: &ItemFn, arguments: &Arguments, settings: &Settings) -> Result<()> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        let mend = "make it `async fn`; what computes without waiting rarely pays for a cache";
        return Err(Error::new_spanned(sig.fn_token, format!("only async functions are cached: {mend}")));
    }
    if let ReturnType::Type(_, ty) = &sig.output
        && let Type::ImplTrait(_) = **ty
    {
        return Err(Error::new_spanned(ty, "what is cached has a type with a name: write it out"));
    }
    for template in settings.templates() {
        for placeholder in template.placeholders() {
            known(placeholder, template, arguments, &sig.ident)?;
        }
    }
    skipped(arguments, settings, &sig.ident)?;
    complete(arguments, settings)
}

/// Checks that a placeholder names an argument.
fn known(
    placeholder: &Placeholder,
    template: &Template,
    arguments: &Arguments,
    function: &Ident,
) -> Result<()> {
    let root = placeholder.root();
    if arguments.named(root).is_some() {
        return Ok(());
    }
    let text = placeholder.text();
    Err(Error::new(template.span, format!("`{{{text}}}`: {}", no_such(root, arguments, function))))
}

fn no_such(name: &Ident, arguments: &Arguments, function: &Ident) -> String {
    let mut names: Vec<String> =
        arguments.named.iter().map(|argument| format!("`{}`", argument.name)).collect();
    if arguments.this.is_some() {
        names.insert(0, "`self`".to_owned());
    }
    match names.is_empty() {
        true => format!("`{name}` is no argument of `{function}`, which has none"),
        false => format!("`{name}` is no argument of `{function}`: there are {}", names.join(", ")),
    }
}

/// Checks that each skipped name is an argument, and not in the key.
fn skipped(arguments: &Arguments, settings: &Settings, function: &Ident) -> Result<()> {
    for name in &settings.skip {
        if !arguments.named.iter().any(|argument| argument.name == *name) {
            return Err(Error::new(name.span(), no_such(name, arguments, function)));
        }
        if in_key(&settings.key, name) {
            return Err(Error::new(name.span(), format!("`{name}` is skipped and in the key")));
        }
    }
    Ok(())
}

/// Checks that every argument is in the key or skipped: calls that differ in a forgotten one would share an entry.
fn complete(arguments: &Arguments, settings: &Settings) -> Result<()> {
    if matches!(settings.key, Key::Arguments) {
        return Ok(());
    }
    for argument in &arguments.named {
        let name = &argument.name;
        if !settings.skip.contains(name) && !in_key(&settings.key, name) {
            let mend = format!("name it in the key, or leave it out with `skip({name})`");
            return Err(Error::new(
                name.span(),
                format!("calls that differ in `{name}` would share an entry: {mend}"),
            ));
        }
    }
    Ok(())
}

fn in_key(key: &Key, name: &Ident) -> bool {
    match key {
        Key::Arguments => false,
        Key::Template(template) => template.roots().any(|root| root == name),
        Key::Expression(expression) => mentions(expression.to_token_stream(), name),
    }
}
