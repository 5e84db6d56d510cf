//! What the configuration looks like, as data: the one source of the JSON Schema, the reference page, environment
//! overrides and spelling suggestions. Changes when keys need another property.

use serde_json::Value;

/// What a value looks like.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// One piece of text.
    Text {
        /// For the reference page, for example `port` or `duration`.
        name: &'static str,
        /// JSON Schema of it.
        schema: Value,
    },
    /// A list.
    List(Box<Shape>),
    /// A list of texts that may be one text with commas.
    CommaList(Box<Shape>),
    /// Keys that the user chooses.
    Map(Box<Shape>),
    /// Fixed keys.
    Section(fn() -> Vec<Key>),
    /// Several forms; the first is the recommended one.
    OneOf(Vec<Shape>),
    /// Anything; it is not looked at.
    Anything,
}

/// One key of a section.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Markdown, one or more lines.
    pub(crate) doc: &'static str,
    pub(crate) shape: Shape,
    pub(crate) default: Option<Value>,
    pub(crate) status: Status,
}

/// Whether a key does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It does what its text says.
    Works,
    /// Accepted for a feature that is not built yet; setting it warns with the feature's name.
    NotYet(&'static str),
    /// As `NotYet`, but one warning elsewhere speaks for it.
    NotYetQuiet,
    /// Accepted so that configurations of the original load; it changes nothing here, and setting it says why.
    NoEffect(&'static str),
}

impl Status {
    pub(crate) fn warning(self) -> Option<String> {
        match self {
            Self::Works | Self::NotYetQuiet => None,
            Self::NotYet(feature) => {
                Some(format!("{feature} not available yet; the key is accepted and has no effect"))
            }
            Self::NoEffect(reason) => Some(format!("has no effect: {reason}")),
        }
    }
}

impl Shape {
    /// The fixed keys, if it has any (in its recommended form).
    pub(crate) fn keys(&self) -> Option<Vec<Key>> {
        match self {
            Self::Section(keys) => Some(keys()),
            Self::OneOf(forms) => forms.first().and_then(Self::keys),
            _ => None,
        }
    }
}

/// Declares a section of the configuration: its struct, its keys and how it is decoded.
///
/// `name: Type = default, status;` or `name: Type, status;` for types that may be left out. Every field becomes
/// `Located<Type>`; its doc comment is the text of the reference page and of the schema. Keys under `accepts` are checked
/// and dropped, because nothing reads them yet; so the compiler notices a key that claims to work and is not read.
macro_rules! section {
    ($(#[doc = $section_doc:literal])* $vis:vis struct $section:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty $(= $default:expr)?, $status:expr;)*
    } $(accepts {
        $($(#[doc = $idle_doc:literal])+ $idle:ident: $idle_type:ty $(= $idle_default:expr)?, $idle_status:expr;)*
    })?) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone)]
        $vis struct $section {
            $($(#[doc = $doc])+ $vis $field: $crate::config::decode::Located<$type>,)*
        }

        impl $section {
            $vis fn keys() -> Vec<$crate::config::shape::Key> {
                vec![
                    $(section!(@key $($doc)+, $field, $type, section!(@json $type $(= $default)?), $status),)*
                    $($(section!(
                        @key $($idle_doc)+, $idle, $idle_type, section!(@json $idle_type $(= $idle_default)?), $idle_status
                    ),)*)?
                ]
            }
        }

        impl $crate::config::decode::Decode for $section {
            fn shape() -> $crate::config::shape::Shape {
                $crate::config::shape::Shape::Section(Self::keys)
            }

            fn decode(
                node: &$crate::config::yaml::Node,
                at: &$crate::config::decode::At,
                cx: &mut $crate::config::decode::Context<'_>,
            ) -> Option<Self> {
                let keys = Self::keys();
                let entries = cx.open(node, at, &keys);
                let mut keys = keys.iter();
                // One key per field, in the same order: both come from the same list above.
                let section = Self { $($field: {
                    let key = keys.next()?;
                    cx.field(at, &entries, key, |at| section!(@value at, $type $(= $default)?))
                }),* };
                $($(cx.field::<Option<$idle_type>>(at, &entries, keys.next()?, |_| None);)*)?
                Some(section)
            }
        }

        impl $crate::config::decode::Absent for $section {
            fn absent(at: &$crate::config::decode::At) -> Self {
                // A section may have nothing but accepted keys.
                let _ = at;
                Self { $($field: {
                    let name = stringify!($field).trim_start_matches("r#");
                    let at = at.child(name, at.position.clone());
                    let value = section!(@value (&at), $type $(= $default)?);
                    $crate::config::decode::Located { value, at, given: false }
                }),* }
            }
        }
    };
    (@key $($doc:literal)+, $field:ident, $type:ty, $default:expr, $status:expr) => {
        $crate::config::shape::Key {
            name: stringify!($field).trim_start_matches("r#"),
            doc: concat!($($doc, "\n"),+),
            shape: <$type as $crate::config::decode::Decode>::shape(),
            default: $default,
            status: $status,
        }
    };
    (@json $type:ty = $default:expr) => {{
        let default: $type = $default;
        Some($crate::config::decode::FromText::to_json(&default))
    }};
    (@json $type:ty) => { None };
    (@value $at:tt, $type:ty = $default:expr) => {{
        let _: &$crate::config::decode::At = $at;
        let default: $type = $default;
        default
    }};
    (@value $at:tt, $type:ty) => { <$type as $crate::config::decode::Absent>::absent($at) };
}

/// Declares an enumeration of the configuration: `Name = "spelling" | "other spelling"`, the first one canonical.
macro_rules! choice {
    ($(#[doc = $enum_doc:literal])+ $vis:vis enum $choice:ident {
        $($(#[doc = $doc:literal])+ $variant:ident = $name:literal $(| $alias:literal)*,)+
    }) => {
        $(#[doc = $enum_doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $choice { $($(#[doc = $doc])+ $variant,)+ }

        impl $choice {
            /// The canonical spelling.
            $vis fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl $crate::config::decode::FromText for $choice {
            fn text_shape() -> $crate::config::shape::Shape {
                $crate::config::shape::Shape::Text {
                    name: "choice",
                    schema: serde_json::json!({ "enum": [$($name $(, $alias)*),+] }),
                }
            }

            fn from_text(text: &str) -> Result<Self, $crate::config::decode::Problem> {
                $(if [$name $(, $alias)*].iter().any(|name| name.eq_ignore_ascii_case(text)) {
                    return Ok(Self::$variant);
                })+
                Err($crate::config::values::not_one_of(text, &[$($name),+]))
            }

            fn to_json(&self) -> serde_json::Value {
                self.name().into()
            }
        }
    };
}

pub(crate) use {choice, section};
