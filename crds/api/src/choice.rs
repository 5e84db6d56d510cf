//! Enumerations as resources write them. Changes when such an enumeration has to offer more to its users.

/// Defines an enumeration of unit variants with its spelling in resources: the variant's own name, or the text after
/// `=`. The schema is a plain list of values in the order of the source: what `JsonSchema` derives from documented
/// variants would put the documentation of the type in the place of that of the field.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident $(= $text:literal)?,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* $(#[serde(rename = $text)])? $variant,)+
        }

        impl $name {
            /// Every value, in the order of the schema.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As resources write it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $crate::choice::choice!(@text $variant $($text)?),)+
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let values: Vec<&str> = Self::ALL.iter().map(|value| value.as_str()).collect();
                schemars::json_schema!({ "type": "string", "enum": values })
            }
        }
    };
    (@text $variant:ident) => { stringify!($variant) };
    (@text $variant:ident $text:literal) => { $text };
}

pub(crate) use choice;
