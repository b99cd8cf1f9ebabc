//! Every shape that enters or leaves. Plain structs; `From` destructures what it shows without `..`, so that a new
//! field of the model must be decided on here, and nothing leaves by accident.

pub(super) mod activity;
pub(super) mod ai;
pub(super) mod cameras;
pub(super) mod coverage;
pub(super) mod events;
pub(super) mod exports;
pub(super) mod probe;
pub(super) mod recordings;
pub(super) mod retention;
pub(super) mod scrub;
pub(super) mod status;
pub(super) mod system;
pub(super) mod workers;
pub(super) mod zones;

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, RefOr, Schema, SchemaFormat,
        schema::{ObjectBuilder, Type},
    },
};

use crate::{
    base::WallUs,
    model::{
        Profile,
        address::Vendor,
        ai::zone::{Direction, ZoneKind},
        camera::{MirrorMode, Transport},
        clip::Format,
        copies::{CopyState, Place},
        demand::Mode as RecordMode,
        event::{Kind, Severity},
        ledger::Cause,
        mirror::MirrorState,
        refill::{
            queue::RefillState,
            way::{Method, TimeFormat},
        },
        retention::Limit,
        segment::{AudioCodec, Codec, SegmentState, Source},
        source::{SourceChoice, SourceKind},
        status::{Shown, StreamErrorKind},
    },
    run::SamplerState,
};

/// The body of every answer that is an error.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What is wrong.
    pub(crate) error: ErrorDetail,
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// Stable word for programs; docs/http-api.md lists them.
    pub(crate) code: String,
    /// One sentence for people.
    pub(crate) message: String,
    /// The field, parameter or setting that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) field: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) hint: Option<String>,
}

/// A closed set of words of the model.
pub(super) trait Words: Copy + 'static {
    /// What the API document calls the set.
    const SCHEMA: &'static str;
    /// Every value.
    fn all() -> &'static [Self];
    /// The word for one.
    fn text(self) -> &'static str;
}

macro_rules! wire_words {
    ($($alias:ident = $type:ident),+ $(,)?) => {$(
        impl Words for $type {
            const SCHEMA: &'static str = stringify!($type);
            fn all() -> &'static [Self] { Self::ALL }
            fn text(self) -> &'static str { self.word() }
        }
        // The derive of utoipa cannot name a generic type's schema; behind an alias it asks the type.
        pub(super) type $alias = Word<$type>;
    )+};
}

wire_words!(
    VendorWord = Vendor,
    ProfileWord = Profile,
    TransportWord = Transport,
    SourceChoiceWord = SourceChoice,
    SourceKindWord = SourceKind,
    RecordModeWord = RecordMode,
    MirrorModeWord = MirrorMode,
    StateWord = Shown,
    LossWord = StreamErrorKind,
    AudioWord = AudioCodec,
    CodecWord = Codec,
    SourceWord = Source,
    SegmentStateWord = SegmentState,
    PlaceWord = Place,
    SamplerStateWord = SamplerState,
    ZoneKindWord = ZoneKind,
    DirectionWord = Direction,
    CopyWord = CopyState,
    MirrorStateWord = MirrorState,
    RefillMethodWord = Method,
    TimeFormatWord = TimeFormat,
    RefillStateWord = RefillState,
    CauseWord = Cause,
    LimitWord = Limit,
    FormatWord = Format,
    KindWord = Kind,
    SeverityWord = Severity,
);

/// A value of the model as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<T>(pub(super) T);

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Words> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.text())
    }
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        T::all().iter().copied().find(|value| value.text() == word).map(Self).ok_or_else(|| {
            let words: Vec<&str> = T::all().iter().map(|value| value.text()).collect();
            let shown: String = word.chars().take(40).collect();
            de::Error::custom(format!("`{shown}` is none of {}", words.join(", ")))
        })
    }
}

impl<T: Words> PartialSchema for Word<T> {
    fn schema() -> RefOr<Schema> {
        let words = T::all().iter().map(|value| value.text());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl<T: Words> ToSchema for Word<T> {
    fn name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }
}

/// A measured value without the digits that say nothing.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// RFC 3339 UTC with microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Time(pub(super) WallUs);

impl From<WallUs> for Time {
    fn from(at: WallUs) -> Self {
        Self(at)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, microseconds"))
            .examples(["2026-11-20T10:00:00.000000Z"])
            .into()
    }
}

impl ToSchema for Time {}

/// A whole number from `MIN` to `MAX`. The bound is in the API document and in the refusal, from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Int<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Int<MIN, MAX> {
    pub(super) fn get(self) -> u32 {
        self.0
    }

    /// Reads a number as a query has it.
    pub(super) fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| (MIN..=MAX).contains(n)).map(Self)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<const MIN: u32, const MAX: u32>;
        impl<const MIN: u32, const MAX: u32> de::Visitor<'_> for Visitor<MIN, MAX> {
            type Value = Int<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
                let fits = u32::try_from(n).ok().filter(|n| (MIN..=MAX).contains(n));
                fits.map(Int).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                Err(E::invalid_value(de::Unexpected::Signed(n), &self))
            }
        }
        from.deserialize_u64(Visitor)
    }
}

impl<const MIN: u32, const MAX: u32> PartialSchema for Int<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(i64::from(MIN)))
            .maximum(Some(i64::from(MAX)))
            .into()
    }
}

impl<const MIN: u32, const MAX: u32> ToSchema for Int<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Int{MIN}To{MAX}").into()
    }
}

/// A file as the body of an answer. Only the API document knows this type.
pub(super) enum Binary {}

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Binary {}
