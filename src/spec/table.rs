//! Tables of the spec as lists of keys.
//!
//! `table!` turns one line per key into the struct that the loader fills, and into [`Key`]s, from which the messages about
//! unknown and missing keys and the JSON Schema are made. So a key is known everywhere or nowhere.

use serde_json::Value as Json;

/// Whether a key may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    /// Left out, it is this TOML value.
    Default(&'static str),
}

/// What stands under a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Value,
    Table(&'static [Key]),
    /// `[[key]]`
    Tables(&'static [Key]),
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub doc: &'static str,
    /// What its value looks like, in words that follow "must be".
    pub what: &'static str,
    pub need: Need,
    pub shape: Shape,
    pub schema: fn() -> Json,
}

macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $need:ident $(($default:tt))?; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])* pub $key: Option<$crate::spec::place::At<$type>>, )*
        }

        impl $name {
            pub const ABOUT: &'static str = concat!($($about),*);
            pub const KEYS: &'static [$crate::spec::table::Key] = &[
                $( $crate::spec::table::Key {
                    name: stringify!($key),
                    doc: concat!($($doc),*),
                    what: <$type as $crate::spec::read::Read>::WANTED,
                    need: $crate::spec::table::need!($need $($default)?),
                    shape: <$type as $crate::spec::read::Read>::SHAPE,
                    schema: <$type as $crate::spec::read::Read>::schema,
                }, )*
            ];

            fn from_fields(fields: &$crate::spec::read::Fields, findings: &mut $crate::spec::problem::Findings) -> Self {
                Self { $( $key: fields.take(stringify!($key), findings), )* }
            }
        }

        impl $crate::spec::read::Read for $name {
            const WANTED: &'static str = "a table";
            const SHAPE: $crate::spec::table::Shape = $crate::spec::table::Shape::Table(Self::KEYS);

            fn schema() -> serde_json::Value {
                $crate::spec::schema::table(Self::ABOUT, Self::KEYS)
            }

            fn read(
                key: &str,
                value: &toml::Spanned<toml::de::DeValue>,
                findings: &mut $crate::spec::problem::Findings,
            ) -> Option<Self> {
                let fields = $crate::spec::read::Fields::of(key, value, Self::KEYS, findings)?;
                Some(Self::from_fields(&fields, findings))
            }
        }
    };
}

macro_rules! need {
    (required) => {
        $crate::spec::table::Need::Required
    };
    (optional) => {
        $crate::spec::table::Need::Optional
    };
    (default $value:tt) => {
        $crate::spec::table::Need::Default(stringify!($value))
    };
}

pub(crate) use {need, table};
