"""Checkpoints of other libraries: pure functions (state, config) -> (state, config), both ways. Imports no model."""
