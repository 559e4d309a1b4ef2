"""The room that works: decorators and registry, the bounded inbox and its workers, one run from start to outcome."""
