//! Nothing: the package is its tests, one binary in `tests/it`.
