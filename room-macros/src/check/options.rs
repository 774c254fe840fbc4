//! Validates the options.

use proc_macro2::Ident;

use super::{names, rules, values};
use crate::{
    args::Given,
    data,
    diag::Errors,
    expand,
    model::{Options, Setting},
    options::{self, Sets},
};

/// Validates the options of the room in `module`. An option with a mistake counts as not given.
pub(super) fn check(given: &[Given], module: &Ident, errors: &mut Errors) -> Options {
    let mut options = Options {
        krate: expand::default_crate(),
        binding: names::binding(given, module, errors),
        class: names::class(given, module, errors),
        tag: data::TAG.to_owned(),
        ruled: Vec::new(),
        settings: Vec::new(),
    };
    for option in given {
        let Some(kind) = options::find(option.name) else { continue };
        match kind.sets {
            // They are checked also if they are not given, because the module's name is then their default.
            Sets::Binding | Sets::Class => {}
            Sets::Tag => set(&mut options.tag, names::tag(option, errors)),
            Sets::Crate => set(&mut options.krate, names::krate(option, errors)),
            Sets::Rules(schemas) => options.ruled = rules::chosen(kind, schemas, option, errors).unwrap_or_default(),
            Sets::Constant(_, takes) | Sets::Limit(takes) => {
                let accepted = values::check(kind, takes, option, errors);
                options.settings.extend(accepted.map(|value| Setting { option: kind.name, value }));
            }
        }
    }
    check_beside(&options, given, errors);
    options
}

/// Reports an option without the option that it requires.
fn check_beside(checked: &Options, given: &[Given], errors: &mut Errors) {
    for option in given {
        let Some(kind) = options::find(option.name) else { continue };
        let Some(beside) = kind.beside.and_then(options::find) else { continue };
        // An option with a mistake counts as not given, and has been reported.
        let is_given = given.iter().any(|other| other.name == beside.name);
        if !is_given && checked.setting(kind.name).is_some() {
            let message = format!("option `{}` has no effect without the option `{}`", kind.name, beside.name);
            errors.on(&option.key, format!("{message}\nadd `{}` to `#[room]`", beside.written()));
        }
    }
}

fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}
