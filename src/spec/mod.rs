//! The file format: strict loading, every problem with its line and column, JSON Schema.
