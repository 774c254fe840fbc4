//! The feature `bindings`: the derive of `JsonSchema`, and what a room says of itself.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, Expr, ExprLit, Field, Ident, Lit, Meta, MetaNameValue, Path, Token, parse_quote, punctuated::Punctuated,
};

use crate::{attrs, diag::Errors, expand, model::Sketch};

/// The trait that `#[data]` derives with the feature.
pub(crate) const TRAIT: &str = "JsonSchema";

/// The attribute of the derive.
pub(crate) const HELPER: &str = "schemars";

/// The keys by which serde writes or reads a field in another form than that of its type.
const FORMS: [&str; 3] = ["with", "serialize_with", "deserialize_with"];

/// True if the runtime has the feature `bindings`.
#[cfg(not(test))]
pub(crate) const fn enabled() -> bool {
    cfg!(feature = "bindings")
}

/// True inside [`tests::with_bindings`]: the snapshots must not depend on the features of the build.
#[cfg(test)]
pub(crate) fn enabled() -> bool {
    tests::ENABLED.get()
}

/// Derives `JsonSchema` for a type, unless it has the derive itself.
///
/// Without the derive, rustc would not know its attributes, so they are removed. Returns whether they are known.
pub(crate) fn add<'f>(
    item_attrs: &mut Vec<Attribute>,
    fields: impl IntoIterator<Item = &'f mut Field>,
    at: Span,
    is_wanted: bool,
    krate: &Path,
    errors: &mut Errors,
) -> bool {
    if attrs::derives(item_attrs).iter().any(|own| own == TRAIT) {
        return true;
    }
    if !enabled() || !is_wanted {
        remove_helpers(item_attrs);
        fields.into_iter().for_each(|field| remove_helpers(&mut field.attrs));
        return false;
    }
    fields.into_iter().for_each(|field| check_form(field, krate, errors));
    let schemars = quote!(#krate::__private::schemars);
    let derive = expand::respanned(quote!(#schemars::JsonSchema), Span::call_site().located_at(at));
    item_attrs.insert(0, parse_quote!(#[derive(#derive)]));
    let path = schemars.to_string().replace(' ', "");
    item_attrs.push(parse_quote!(#[schemars(crate = #path)]));
    true
}

pub(crate) fn remove_helpers(of: &mut Vec<Attribute>) {
    of.retain(|attr| !attr.path().is_ident(HELPER));
}

/// Reports a field that serde writes in a form of its own: the schema of its type would be wrong. The form of
/// `serde_bytes` is known.
fn check_form(field: &mut Field, krate: &Path, errors: &mut Errors) {
    let keys = attrs::serde_keys(&field.attrs);
    let Some(key) = FORMS.into_iter().find(|form| keys.iter().any(|key| key == form)) else { return };
    if keys.iter().any(|key| key == "skip") || has_form(&field.attrs) {
        return;
    }
    let Some(value) = attrs::serde_text(&field.attrs, key) else { return };
    let function = value.value();
    if function.trim_start_matches(':').split("::").next() == Some("serde_bytes") {
        let bytes = quote!(#krate::bindings::ByteArray);
        let is_option = matches!(&field.ty, syn::Type::Path(ty) if ty.path.segments.last().is_some_and(|last| last.ident == "Option"));
        let form = if is_option { quote!(#krate::__private::Option<#bytes>) } else { bytes };
        let form = form.to_string().replace(' ', "");
        field.attrs.push(parse_quote!(#[schemars(with = #form)]));
        return;
    }
    let message = format!("the feature `bindings` cannot know the JSON form that `{function}` gives to this field");
    let advice = "add `#[schemars(with = \"…\")]` with a type of the same JSON form, for example `\"String\"`";
    errors.on(&value, format!("{message}\n{advice}"));
    // Otherwise schemars would take the path for a type, and rustc would report it too.
    let unit = quote!(()).to_string();
    field.attrs.push(parse_quote!(#[schemars(with = #unit)]));
}

/// True if the author names the type whose schema the field has.
fn has_form(of: &[Attribute]) -> bool {
    attrs::metas(of).iter().any(|meta| match meta {
        Meta::List(list) if list.path.is_ident(HELPER) => {
            list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).is_ok_and(|parts| {
                parts.iter().any(|part| part.path().is_ident("with") || part.path().is_ident("schema_with"))
            })
        }
        _ => false,
    })
}

/// The stub of the derive, for a type with reported mistakes.
pub(crate) fn stub(krate: &Path) -> Option<(TokenStream, TokenStream)> {
    if !enabled() {
        return None;
    }
    let (schemars, never) = (quote!(#krate::__private::schemars), quote!(::core::unreachable!()));
    let body = quote! {
        fn schema_name() -> ::std::borrow::Cow<'static, str> { #never }
        fn json_schema(_: &mut #schemars::SchemaGenerator) -> #schemars::Schema { #never }
    };
    Some((quote!(#schemars::JsonSchema), body))
}

/// The description of a room.
///
/// The bound holds or not depending on the schemas. Its lifetime defers the question to the use of the description, so
/// that a room with a schema that has no `JsonSchema` compiles.
pub(crate) fn describe(sketch: &Sketch, room: &Ident) -> Option<TokenStream> {
    if !enabled() {
        return None;
    }
    let (krate, doc) = (&sketch.krate, docs(&sketch.module.attrs));
    // A `cfg` cannot remove a bound, so a function with one has to have the schemas.
    let bounds = sketch.calls.iter().filter(|call| !call.is_conditional()).map(|call| call.describable(krate));
    let calls = sketch.calls.iter().map(|call| call.described(krate, &docs(call.notes())));
    let calls = (!sketch.calls.is_empty()).then(|| {
        quote! {
            fn calls(__calls: &mut #krate::bindings::Calls) {
                #(#calls)*
            }
        }
    });
    Some(quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #krate::bindings::Describe for #room
        where
            for<'__a> #room: #krate::bindings::Described<'__a>,
            #(#bounds,)*
        {
            const DOC: &'static str = #doc;
            #calls
        }
    })
}

/// The derive of the schema for the arguments of a call, as a part of the schema of the call.
pub(crate) fn derive_inline(krate: &Path) -> Option<TokenStream> {
    enabled().then(|| {
        let schemars = quote!(#krate::__private::schemars);
        let path = schemars.to_string().replace(' ', "");
        quote! {
            #[derive(#schemars::JsonSchema)]
            #[schemars(crate = #path, inline)]
        }
    })
}

/// The text of the documentation comments.
fn docs(of: &[Attribute]) -> String {
    let lines = of.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. })
            if path.is_ident("doc") =>
        {
            Some(text.value())
        }
        _ => None,
    });
    let lines: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::tests::stream;

    thread_local! {
        pub(crate) static ENABLED: Cell<bool> = const { Cell::new(false) };
    }

    /// Expands with the feature.
    fn with_bindings<T>(expand: impl FnOnce() -> T) -> T {
        ENABLED.set(true);
        let expanded = expand();
        ENABLED.set(false);
        expanded
    }

    fn data(args: &str, item: &str) -> String {
        crate::data::attribute(stream(args), stream(item)).to_string().replace(' ', "")
    }

    #[test]
    fn a_type_derives_the_schema_with_the_feature_only() {
        let item = "#[schemars(title = \"x\")] struct Note { #[schemars(with = \"String\")] at: Time }";
        let without = data("", item);
        assert!(!without.contains("schemars"), "{without}");
        let with = with_bindings(|| data("", item));
        assert!(with.contains("#[derive(::room_runtime::__private::schemars::JsonSchema)]"), "{with}");
        assert!(with.contains("#[schemars(crate=\"::room_runtime::__private::schemars\")]"), "{with}");
        assert!(with.contains("#[schemars(with=\"String\")]"), "{with}");
    }

    #[test]
    fn an_enum_keeps_its_tag_in_the_schema() {
        let with = with_bindings(|| data("tag = \"op\"", "enum Step { Go { #[schemars(with = \"u8\")] to: T } }"));
        assert!(with.contains("JsonSchema") && with.contains("#[serde(tag=\"op\")]"), "{with}");
        // The twin, which is not described, has none of the attributes.
        assert_eq!(with.matches("#[schemars(with=\"u8\")]").count(), 1, "{with}");
    }

    #[test]
    fn an_own_derive_and_a_skip_stay() {
        let own = "#[derive(schemars::JsonSchema)] #[schemars(title = \"x\")] struct Note {}";
        for expanded in [data("", own), with_bindings(|| data("", own))] {
            assert_eq!(expanded.matches("JsonSchema").count(), 1, "{expanded}");
            assert!(expanded.contains("#[schemars(title=\"x\")]"), "{expanded}");
        }
        let skipped = with_bindings(|| data("skip(JsonSchema)", "#[schemars(title = \"x\")] struct Note {}"));
        assert!(!skipped.contains("JsonSchema") && !skipped.contains("schemars"), "{skipped}");
        assert!(!skipped.contains("compile_error"), "{skipped}");
        let without = data("skip(JsonSchema)", "struct Note {}");
        assert!(!without.contains("compile_error"), "{without}");
        let wrong = || data("skip(Hash)", "struct Note {}");
        assert!(wrong().contains("`Debug`and`PartialEq`,not`Hash`"), "{}", wrong());
        let with = with_bindings(wrong);
        assert!(with.contains("`PartialEq`and`JsonSchema`,not`Hash`"), "{with}");
    }

    #[test]
    fn a_trait_that_the_room_implements_itself_is_not_derived() {
        let room = "pub mod chat {
            pub struct State; pub struct Connection; pub struct Event; pub struct Broadcast { note: Note }
            #[data] pub struct Note;
            impl JsonSchema for State {} impl JsonSchema for Note {}
        }";
        let expanded =
            with_bindings(|| crate::room_impl(TokenStream::new(), stream(room)).to_string().replace(' ', ""));
        assert_eq!(expanded.matches("schemars::JsonSchema").count(), 3, "{expanded}");
        assert!(expanded.contains("#[data(skip(JsonSchema))]"), "{expanded}");
    }

    #[test]
    fn a_field_in_a_form_of_its_own_names_its_schema() {
        let field = |field: &str| with_bindings(|| data("", &format!("struct S {{ {field} }}")));
        let unknown = field("#[serde(with = \"iso\")] at: Time");
        assert!(unknown.contains("cannotknowtheJSONformthat`iso`gives"), "{unknown}");
        let half = field("#[serde(serialize_with = \"iso::write\")] at: Time");
        assert!(half.contains("cannotknowtheJSONformthat`iso::write`gives"), "{half}");
        for fine in [
            "#[serde(with = \"iso\")] #[schemars(with = \"String\")] at: Time",
            "#[serde(with = \"iso\", skip)] at: Time",
            "#[serde(rename = \"with\")] at: Time",
        ] {
            let fine = field(fine);
            assert!(!fine.contains("compile_error"), "{fine}");
        }
        let bytes = field("#[serde(with = \"serde_bytes\")] raw: Vec<u8>");
        assert!(bytes.contains("#[schemars(with=\"::room_runtime::bindings::ByteArray\")]"), "{bytes}");
        let bytes = field("#[serde(with = \"serde_bytes\")] raw: Option<Vec<u8>>");
        assert!(bytes.contains("__private::Option<::room_runtime::bindings::ByteArray>\")"), "{bytes}");
        // Without the feature nothing is asked of the author.
        let without = data("", "struct S { #[serde(with = \"iso\")] at: Time }");
        assert!(!without.contains("compile_error"), "{without}");
    }

    #[test]
    fn a_room_describes_itself_with_its_documentation() {
        let room = "/// A chat.\n///\n/// With notes.\npub mod chat {
            pub struct State; pub struct Connection; pub struct Event; pub struct Broadcast;
        }";
        let expand = || crate::room_impl(TokenStream::new(), stream(room)).to_string();
        assert!(!expand().contains("Describe"));
        let with = with_bindings(expand);
        assert!(with.contains("Describe for Room"), "{with}");
        assert!(with.contains("const DOC : & 'static str = \"A chat.\\n\\nWith notes.\""), "{with}");
    }
}
