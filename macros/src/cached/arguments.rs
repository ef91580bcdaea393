//! The arguments of a function: the copies that a load owns, and the references to them for the function.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::spanned::Spanned as _;

use super::settings::Settings;
use syn::{Error, FnArg, GenericArgument, Pat, PatType, PathArguments, Receiver, ReceiverKind, Result, Type};

/// The way in which a function takes an argument.
enum Taken {
    /// `&T`: the load owns the owned form of `T`.
    Lent(Box<Type>),
    /// `Option<&T>`.
    MaybeLent(Box<Type>),
    /// `T`.
    Given,
}

/// One argument that is not `self`.
pub(super) struct Argument {
    pub(super) name: Ident,
    pub(super) ty: Box<Type>,
    taken: Taken,
}

impl Argument {
    pub(super) fn parse(argument: &PatType) -> Result<Self> {
        let Pat::Ident(pattern) = &*argument.pat else {
            let mend = "give it a name, and take it apart in the body";
            return Err(Error::new(
                argument.pat.span(),
                format!("an argument that is a pattern is no part of a key: {mend}"),
            ));
        };
        if let Some(attribute) = argument.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
            let mend = "put `cfg` on two functions instead";
            return Err(Error::new(attribute.span(), format!("an argument that comes and goes: {mend}")));
        }
        let (name, ty) = (pattern.ident.clone(), argument.ty.clone());
        let taken = match &*ty {
            Type::Reference(reference) if reference.mutability.is_some() => {
                return Err(Error::new(ty.span(), NOT_MUT));
            }
            Type::Reference(reference) => Taken::Lent(reference.elem.clone()),
            other => lent_within(other).map_or(Taken::Given, Taken::MaybeLent),
        };
        let owned = match &taken {
            Taken::Lent(inner) | Taken::MaybeLent(inner) => inner,
            Taken::Given => &ty,
        };
        if let Some(span) = borrowed(owned.to_token_stream()) {
            let mend = "take `&T`, `Option<&T>` or something owned";
            return Err(Error::new(
                span,
                format!("a load may outlive the call, and cannot own what is borrowed here: {mend}"),
            ));
        }
        Ok(Self { name, ty, taken })
    }

    /// Returns `name: Type`, for the signature of a companion.
    pub(super) fn declared(&self) -> TokenStream {
        let Self { name, ty, .. } = self;
        quote!(#name: #ty)
    }

    /// Returns `name: &Type`.
    pub(super) fn borrowed(&self) -> TokenStream {
        let Self { name, ty, .. } = self;
        match &**ty {
            // several bounds after a `&` need parentheses
            Type::ImplTrait(_) => quote!(#name: &(#ty)),
            _ => quote!(#name: &#ty),
        }
    }

    /// Returns `true` if its type has no name.
    pub(super) fn is_unnamed(&self) -> bool {
        match &self.taken {
            Taken::Lent(ty) | Taken::MaybeLent(ty) => is_impl_trait(ty),
            Taken::Given => is_impl_trait(&self.ty),
        }
    }

    /// Returns the statement that makes the copy that the load owns.
    pub(super) fn owned(&self, settings: &Settings) -> TokenStream {
        let name = &self.name;
        let own = settings.larder(self.ty.span(), "own");
        match self.taken {
            Taken::Lent(_) => quote!(let #name = #own(#name);),
            Taken::MaybeLent(_) => quote!(let #name = #name.map(|lent| #own(lent));),
            Taken::Given => quote!(let #name = #own(&#name);),
        }
    }

    /// Returns the expression that passes the copy to the function.
    pub(super) fn lent(&self) -> TokenStream {
        let name = &self.name;
        match &self.taken {
            Taken::Lent(ty) if is_impl_trait(ty) => quote!(&#name),
            Taken::Lent(ty) => quote!(::core::borrow::Borrow::<#ty>::borrow(&#name)),
            Taken::MaybeLent(ty) => {
                quote!(#name.as_ref().map(|owned| ::core::borrow::Borrow::<#ty>::borrow(owned)))
            }
            Taken::Given => quote!(#name),
        }
    }
}

const NOT_MUT: &str =
    "a call that changes its arguments cannot be answered from a cache: take `&`, or something owned";

/// The receiver of a method.
pub(super) struct This {
    receiver: Receiver,
    by_reference: bool,
}

impl This {
    pub(super) fn parse(receiver: &Receiver) -> Result<Self> {
        let by_reference = match &receiver.kind {
            ReceiverKind::Value => false,
            ReceiverKind::Reference(_, _, None) => true,
            ReceiverKind::Reference(_, _, Some(mutable)) => return Err(Error::new(mutable.span(), NOT_MUT)),
            ReceiverKind::Typed(_, ty) => match &**ty {
                Type::Reference(reference) if reference.mutability.is_some() => {
                    return Err(Error::new(ty.span(), NOT_MUT));
                }
                Type::Reference(_) => true,
                _ => false,
            },
            _ => return Err(Error::new(receiver.span(), "this kind of `self` is not known to `cached`")),
        };
        Ok(Self { receiver: receiver.clone(), by_reference })
    }

    /// Returns the receiver for the signature of a companion.
    pub(super) fn declared(&self) -> TokenStream {
        let mut receiver = self.receiver.clone();
        receiver.mutability = None;
        receiver.attrs.clear();
        receiver.to_token_stream()
    }

    pub(super) fn borrowed(&self) -> TokenStream {
        let this = self.receiver.self_token;
        quote!(&#this)
    }

    /// Returns `self`, in the form in which it is passed on.
    pub(super) fn passed(&self) -> TokenStream {
        self.receiver.self_token.to_token_stream()
    }

    pub(super) fn owned(&self, settings: &Settings, name: &Ident) -> TokenStream {
        let this = self.receiver.self_token;
        let own = settings.larder(self.receiver.span(), "own");
        match self.by_reference {
            true => quote!(let #name = #own(#this);),
            false => quote!(let #name = #own(&#this);),
        }
    }

    pub(super) fn lent(&self, name: &Ident) -> TokenStream {
        match self.by_reference {
            true => quote!(&#name),
            false => quote!(#name),
        }
    }
}

fn is_impl_trait(ty: &Type) -> bool {
    match ty {
        Type::ImplTrait(_) => true,
        Type::Paren(inner) => is_impl_trait(&inner.elem),
        Type::Group(inner) => is_impl_trait(&inner.elem),
        _ => false,
    }
}

/// Returns `T` of a type `Option<&T>`.
fn lent_within(ty: &Type) -> Option<Box<Type>> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(Type::Reference(reference)) if reference.mutability.is_none() => {
            Some(reference.elem.clone())
        }
        _ => None,
    }
}

/// Returns the position of a borrow in a type: a reference, or a lifetime that is not `'static`.
fn borrowed(ty: TokenStream) -> Option<Span> {
    let mut tokens = ty.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                if let Some(span) = borrowed(group.stream()) {
                    return Some(span);
                }
            }
            TokenTree::Punct(mark) if mark.as_char() == '\'' => {
                let is_static = matches!(tokens.peek(), Some(TokenTree::Ident(name)) if name == "static");
                if !is_static {
                    return Some(mark.span());
                }
            }
            TokenTree::Punct(mark) if mark.as_char() == '&' => {
                let lives = matches!(tokens.peek(), Some(TokenTree::Punct(quote)) if quote.as_char() == '\'');
                if !lives {
                    return Some(mark.span());
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns `true` if tokens mention a name.
pub(super) fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// All arguments of a function.
pub(super) struct Arguments {
    pub(super) this: Option<This>,
    pub(super) named: Vec<Argument>,
}

impl Arguments {
    pub(super) fn parse<'a>(inputs: impl IntoIterator<Item = &'a FnArg>) -> Result<Self> {
        let mut arguments = Self { this: None, named: vec![] };
        for input in inputs {
            match input {
                FnArg::Receiver(receiver) => arguments.this = Some(This::parse(receiver)?),
                FnArg::Typed(argument) => arguments.named.push(Argument::parse(argument)?),
            }
        }
        Ok(arguments)
    }

    /// Returns the declared identifier of an argument or of `self`.
    pub(super) fn named(&self, name: &Ident) -> Option<Ident> {
        let this = self.this.as_ref().map(|this| Ident::from(this.receiver.self_token));
        let named = self.named.iter().map(|argument| argument.name.clone());
        this.into_iter().chain(named).find(|declared| declared == name)
    }

    pub(super) fn declared(&self) -> impl Iterator<Item = TokenStream> {
        self.this.iter().map(This::declared).chain(self.named.iter().map(Argument::declared))
    }

    pub(super) fn borrowed(&self) -> impl Iterator<Item = TokenStream> {
        self.this.iter().map(This::borrowed).chain(self.named.iter().map(Argument::borrowed))
    }

    /// Returns the arguments as they are passed on, by value.
    pub(super) fn passed(&self) -> impl Iterator<Item = TokenStream> {
        let named = self.named.iter().map(|argument| argument.name.to_token_stream());
        self.this.iter().map(This::passed).chain(named)
    }

    /// Returns references to the arguments.
    pub(super) fn referred(&self) -> impl Iterator<Item = TokenStream> {
        self.passed().map(|argument| quote!(&#argument))
    }
}
