//! The AWS SDK behind [`super::Cloud`].
