//! An account in memory that behaves like AWS, for tests and for planning without credentials.
