"""Tests, benchmarks and what both share (tests/kit). Imported as `tests.…`, so that every class exists once."""
