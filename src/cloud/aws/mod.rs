//! The AWS SDK behind [`super::Cloud`].

pub mod objects;
